"""A library on disk: Arrow schemas, files, rows and records, the manifest."""
