"""Groups of policies as arrays, and what says which policies are members: known to a library and to compositions."""
