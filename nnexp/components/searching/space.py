"""A search space: keys of a config, the domain of each, and which of them depend on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from nnexp.components.searching.domain import Domain

Draw: TypeAlias = dict[str, float]
"""For each active parameter, by name, its position: u on a scale, or the number of a choice."""


@dataclass(frozen=True)
class Parameter:
    """One thing that varies.

    name: its own. path: the key that it sets, dotted; two parameters may set the same key, each
        under other conditions. when: it is there only if another one (by name) chose one of these.
    """

    name: str
    path: str
    domain: Domain
    when: tuple[str, frozenset[int]] | None = None


@dataclass(frozen=True)
class Space:
    """Parameters, each after the one that it depends on."""

    parameters: Sequence[Parameter]

    def active(self, draw: Mapping[str, float]) -> list[Parameter]:
        """The parameters that a draw, which may hold more, has a use for."""
        found: dict[str, Parameter] = {}
        for one in self.parameters:
            if one.when is None or (one.when[0] in found and draw.get(one.when[0]) in one.when[1]):
                found[one.name] = one
        return list(found.values())

    def reduced(self, draw: Mapping[str, float]) -> Draw:
        """The draw without what its choices have no use for."""
        return {one.name: draw[one.name] for one in self.active(draw)}

    def values(self, draw: Mapping[str, float]) -> dict[str, Any]:
        """What a draw sets: values by key, whole components before keys within them."""
        return {one.path: one.domain.at(draw[one.name]) for one in self.active(draw)}
