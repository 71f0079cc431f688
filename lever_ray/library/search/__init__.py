"""Text: vectors of descriptions, and indexes over them."""
