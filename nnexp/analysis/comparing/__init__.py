"""Whether runs differ: pairs, tests, and what the verdict speaks of."""
