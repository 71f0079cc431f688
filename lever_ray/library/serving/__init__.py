"""Answering from mapped files: groups, records, tables and searches of some of a library's shards."""
