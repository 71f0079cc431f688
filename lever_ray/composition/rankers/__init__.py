"""Rankers: what predicts the return of a candidate before it is run; one small class each, by name in ``registry``."""
