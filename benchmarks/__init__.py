"""Figures of speed, memory and quality, each module runnable on its own."""
