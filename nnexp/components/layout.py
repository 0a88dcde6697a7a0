"""Where a network's tensors lie: all parameters of a member are one flat row.

Members' rows together are `[M, P]`, on which optimizers and penalties work whole. What needs to
know a tensor's shape, or which layer it belongs to, asks the layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from nnexp.components.layer import Slot
from nnexp.errors import nearest
from nnexp.lazy import torch


@dataclass(frozen=True)
class Entry:
    """One tensor's place in a flat row.

    name: `{layer's number}.{layer's component}.{slot}`, as in model.safetensors.
    layer: the layer's number. aliases: what a config may call the layer.
    """

    name: str
    layer: int
    slot: Slot
    start: int
    stop: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a network lies in a flat row of `size` numbers."""

    entries: tuple[Entry, ...] = ()
    size: int = 0

    def views(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """The tensors inside `flat` `[M, size]`, each `[M, *shape]`, sharing its memory."""
        return [flat[:, e.start : e.stop].view(-1, *e.slot.shape) for e in self.entries]

    def named(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """One member's tensors by name, from its row `[size]`."""
        return {e.name: row[e.start : e.stop].reshape(e.slot.shape) for e in self.entries}

    def row(self, named: dict[str, Any]) -> torch.Tensor:
        """The inverse of `named`: a flat row; KeyError for a tensor that is missing."""
        parts = [torch.as_tensor(named[e.name]).flatten() for e in self.entries]
        return torch.cat(parts) if parts else torch.zeros(0)


@dataclass(frozen=True)
class Scope:
    """On which parameters something acts.

    factor: `[P]`, its strength on each parameter; 0 where it leaves one alone.
    """

    factor: torch.Tensor
    layout: Layout


_T = TypeVar("_T")


def chosen(entry: Entry, by_layer: Mapping[str, _T]) -> _T | None:
    """What a mapping from layers to values says of a tensor's layer; the last entry that fits.

    A layer is called by its number, its component ("linear"), both ("0.linear"), or its place
    among the layers with weights: "first", "hidden" (all but the last) or "output". `*` and `?`
    stand for any characters.
    """
    found = None
    for pattern, value in by_layer.items():
        if any(fnmatchcase(alias, pattern) for alias in entry.aliases):
            found = value
    return found


def unknown_layer(layout: Layout, by_layer: Mapping[str, Any]) -> str | None:
    """A sentence about the first name in such a mapping that fits no layer; None if all fit."""
    names = list(dict.fromkeys(alias for e in layout.entries for alias in e.aliases))
    for pattern in by_layer:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = nearest(pattern, names)
            hint = f"; did you mean {close}?" if close else ""
            layers = dict.fromkeys(e.name.rpartition(".")[0] for e in layout.entries)
            return (
                f"no layer with weights is called {pattern!r}{hint} (there are: "
                f"{', '.join(layers)}; first, hidden, output)"
            )
    return None
