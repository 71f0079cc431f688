"""The published study and what it lacks, from nothing to a report."""
