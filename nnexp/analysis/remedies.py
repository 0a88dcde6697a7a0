"""What to change in a config next, against underfitting and against overfitting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnexp.analysis.results import Result, as_number

_PENALTIES = ("l2", "l1", "weight_decay")


def against_bias(result: Result) -> str:
    """Less of what holds the network back, else a larger one."""
    model, penalties = _model(result), _penalties(result)
    for key in ("dropout", "input_dropout"):
        if (rate := as_number(model.get(key))) and rate > 0:
            return f"Hold it back less: --set model.{key}={rate / 2:g}, then a larger network."
    for name in _PENALTIES:
        if strength := _strength(penalties.get(name)):
            return (
                f"Penalize less: --set regularization.{name}={strength / 10:g}, then a larger "
                "network."
            )
    return f"A network that can do more: {_larger(model)}; or train longer."


def against_variance(result: Result) -> str:
    """More data where that is cheap, else what is not yet there: augmentation, dropout, L2."""
    if _model(result).get("dropout") == 0:
        return (
            "Regularize: --set model.dropout=0.2 (or regularization.l2=1e-4); more training "
            "data helps most, if they can be had."
        )
    strength = _strength(_penalties(result).get("l2"))
    if not strength:
        return (
            "Regularize: --set regularization.l2=1e-4; more training data helps most, if they can "
            "be had."
        )
    return (
        f"Regularize more: --set regularization.l2={10 * strength:g}; more training data, or "
        "augmentation, helps most."
    )


def _model(result: Result) -> Mapping[str, Any]:
    model = result.config.get("model")
    return model if isinstance(model, Mapping) else {}


def _penalties(result: Result) -> Mapping[str, Any]:
    penalties = result.config.get("regularization")
    return penalties if isinstance(penalties, Mapping) else {}


def _strength(penalty: Any) -> float:
    """A penalty's coefficient: a number, or within a mapping; 0 if there is none."""
    value = penalty.get("coefficient") if isinstance(penalty, Mapping) else penalty
    return as_number(value) or 0.0


def _larger(model: Mapping[str, Any]) -> str:
    """The option that doubles its width."""
    for key in ("hidden", "channels", "width", "units"):
        value = model.get(key)
        if isinstance(value, list) and value and all(as_number(x) for x in value):
            double = ",".join(f"{2 * x:g}" for x in value)
            return f'--set "model.{key}=[{double}]"'
        if number := as_number(value):
            return f"--set model.{key}={2 * number:g}"
    if model.get("name") == "linear":
        return '--set "model={name: mlp, hidden: [64]}"'
    return "more layers, or more units in each"
