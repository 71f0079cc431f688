"""Tasks: the seam between families of environments and everything that learns, composes and measures."""
