"""Intervals and tests over layouts: arrays in, numbers out; nothing here knows what a row is."""
