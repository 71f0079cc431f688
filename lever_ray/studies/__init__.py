"""The studies of docs/findings.md; rows and tables come out."""
