"""Clusters of this machine alone; started on demand, never automatically."""
