"""Word vectors, and how good they are."""
