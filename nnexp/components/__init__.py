"""Everything a config can name."""
