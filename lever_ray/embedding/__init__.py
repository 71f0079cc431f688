"""Offline rollouts, successor features and return regressors."""
