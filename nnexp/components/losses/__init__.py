"""Losses: what is minimized."""

from nnexp.components.losses import classes, labels, loss, tree, values, words

__all__ = ["classes", "labels", "loss", "tree", "values", "words"]
