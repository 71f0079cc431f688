"""lever-ray."""
