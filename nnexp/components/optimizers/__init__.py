"""Update rules."""

from nnexp.components.optimizers import muon, rules

__all__ = [
    "muon",
    "rules",
]
