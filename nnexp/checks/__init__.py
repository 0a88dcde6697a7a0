"""Checks before training: the look that would have shown the mistake."""
