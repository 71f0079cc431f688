"""From text to sub-objectives; one query end to end, timed."""
