"""What a search is made of: domains of values, spaces of them, and methods that draw from these."""

from nnexp.components.searching import bayesian, descent, domain, method, space

__all__ = ["bayesian", "descent", "domain", "method", "space"]
