"""Sweeps: a search space, its trials, the packs that train them, and the processes that do."""
