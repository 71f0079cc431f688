"""Builds the parts from settings and connects the adapters; shared by the console and the jobs."""
