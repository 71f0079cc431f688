"""Candidate strategies: which candidates are evaluated; one small class each, by name in ``registry``."""
