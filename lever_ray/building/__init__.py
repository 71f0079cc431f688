"""Training the policies of a library."""
