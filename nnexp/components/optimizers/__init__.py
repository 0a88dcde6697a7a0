"""Update rules."""

from nnexp.components.optimizers import muon, rules, second_order

__all__ = [
    "muon",
    "rules",
    "second_order",
]
