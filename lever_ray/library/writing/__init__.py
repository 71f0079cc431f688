"""Changing a library: one writer at a time, and all of a change or nothing."""
