"""Tuning: which way of answering is worth its cost; search space, trials, front, recommendation, figures."""
