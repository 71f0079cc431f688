"""Policies on disk: records, files, shards, text encoder."""
