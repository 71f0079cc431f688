"""Hypothesis settings of the whole suite: the same examples in every run, and no clock."""

from hypothesis import settings

settings.register_profile("lever-ray", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2_000)
settings.load_profile("lever-ray")
