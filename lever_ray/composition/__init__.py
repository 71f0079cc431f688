"""Operators, candidate search, coverage, the planner and the optimum."""
