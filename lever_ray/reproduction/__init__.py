"""The published study and more, from nothing to a report: what it consists of, its cells, and how they are run."""
