"""Cells, controls, statistics and figures: rows out, nothing logged."""
