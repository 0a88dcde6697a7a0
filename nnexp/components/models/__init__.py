"""Architectures: presets, and lists of layers by hand."""

from nnexp.components.models import model, rbf, recurrent, vision, words

__all__ = ["model", "rbf", "recurrent", "vision", "words"]
