"""From a checkpoint back to the state that it was saved from, once it is known to be the run's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nnexp.errors import DamagedRun, UntrustedRun
from nnexp.lazy import torch
from nnexp.runs.checkpoint import Loaded
from nnexp.runs.files import sha256
from nnexp.runs.plan import Plan
from nnexp.train.health import COLUMNS
from nnexp.train.loop import Pack
from nnexp.train.state import MemberState, TrainState

_CHANGEABLE = (
    "epochs",
    "checkpoint_seconds",
    "device",
    "tensorboard",
    "record_health",
    "checks",
)
"""Keys of `training` that a resume may change."""


def identity(plan: Plan, members: Sequence[int]) -> str:
    """A hash of what all of a pack's checkpoint follows from: config, data and which members."""
    config = plan.resolved.dump()
    for key in _CHANGEABLE:
        del config["training"][key]
    text = json.dumps([config, plan.table.fingerprint, list(members)], sort_keys=True)
    return sha256([text.encode()])


def restore(
    loaded: Loaded, of: str, pack: Pack, device: torch.device, path: Path
) -> tuple[TrainState, float]:
    """The state, and the seconds of training until then.

    of: the pack's identity. path: the checkpoint's, for messages.
    Raises UntrustedRun if the checkpoint is another run's, DamagedRun if it holds something else.
    """
    if loaded.state.get("of") != of:
        raise UntrustedRun(
            f"{path} is not this run's: it was made with another config, or from other data"
        )
    fresh = pack.start(drawn=False)
    expected, starts = _kinds(fresh.tensors), [m.schedule for m in fresh.members]
    del fresh  # a pack may take most of the memory
    try:
        members = TypeAdapter(list[MemberState]).validate_python(loaded.state["members"])
        known = {field.name for field in fields(MemberState)}
        step, seconds = loaded.state["step"], float(loaded.state["seconds"])
        fits = type(step) is int and 0 <= step < 2**53 and len(members) == len(starts)
        fits = fits and all(member.keys() <= known for member in loaded.state["members"])
        rows = [row for member in members for row in member.history]
        fits = fits and len({tuple(row) for row in rows}) < 2
        fits = fits and all(_is_number(value) for row in rows for value in row.values())
        fits = fits and all(type(row[key]) is int for row in rows for key in ("epoch", "step"))
        sheets = [row for member in members for row in member.health]
        fits = fits and all(_is_health(row) for row in sheets)
        pairs = zip(members, starts, strict=False)
        fits = fits and all(_like(member.schedule, start) for member, start in pairs)
    except (ValidationError, LookupError, TypeError, ValueError, ArithmeticError):
        fits = False
    if not fits or _kinds(loaded.tensors) != expected:
        raise DamagedRun(f"{path} is damaged: it does not hold the state of this run")
    for member in loaded.state["members"]:
        for row in member.get("health", []):
            row += [None] * (len(COLUMNS) - len(row))
    return TrainState.from_parts(loaded.tensors, loaded.state, device), seconds


def _kinds(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[Any, Any]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _like(state: dict[str, Any], start: dict[str, Any]) -> bool:
    """Whether a schedule's state has the keys that it started with, and numbers where it had."""
    return state.keys() == start.keys() and all(
        _is_number(state[key]) or (state[key] is None and value is None)
        for key, value in start.items()
    )


def _is_health(row: list[Any]) -> bool:
    """Whether it is one layer's row of health.csv; columns at the right may be newer than it."""
    return (
        3 < len(row) <= len(COLUMNS)
        and type(row[0]) is int
        and type(row[1]) is int
        and isinstance(row[2], str)
        and all(value is None or isinstance(value, float) for value in row[3:])
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53)
