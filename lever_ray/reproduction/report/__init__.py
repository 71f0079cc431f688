"""Figures, findings and the page of a reproduction, from its tables of rows alone."""
