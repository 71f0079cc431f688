"""Checking a library, and what is left of a damaged one."""
