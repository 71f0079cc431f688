"""Policies from elsewhere, and libraries for elsewhere: npz, Parquet, and plain Python values."""
