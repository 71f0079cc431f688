"""Finite deterministic tasks: explicit arrays of successors and of one reward per term."""
