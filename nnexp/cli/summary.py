"""What a summary.json says, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnexp.cli.console import (
    Cell,
    Style,
    count,
    duration,
    interval,
    say,
    say_table,
    spread,
    value,
    warn,
)

PARTS = ("train", "dev", "test")


def show_summary(summary: Mapping[str, Any], seconds: float | None = None) -> None:
    """The metrics of a run on each split, or of a group with their spread over its members."""
    parts = [part for part in PARTS if summary.get(part)]
    is_group = "members" in summary
    head, rows = ["", *parts], []
    last = parts[-1]
    for metric in sorted(summary[last], key=lambda m: m != summary["primary"]):
        found = [summary[part].get(metric) for part in parts]
        style: Style = "bold" if metric == summary["primary"] else ""
        row: list[Cell] = [(metric, style)]
        row += [(spread(x) if is_group else value(x), style) for x in found]
        if is_group:
            row.append((interval(found[-1].get("interval")), style))
        rows.append(row)
    if is_group:
        head.append("95 % interval")
    say_table(head, rows, right=range(1, len(head)), indent=2)
    say("  " + _course(summary, seconds), "dim")
    if summary.get("baselines"):
        _show_baselines(summary, parts)
    if is_group and summary.get("diverged"):
        warn(f"{summary['diverged']} of {summary['members']} members diverged")


def _show_baselines(summary: Mapping[str, Any], parts: Sequence[str]) -> None:
    """The primary metric of the network and of each baseline; of a group the means."""
    primary = summary["primary"]
    rows: list[list[Cell]] = []
    for name, scores in summary["baselines"].items():
        shown = [value((scores.get(part) or {}).get(primary)) for part in parts]
        rows.append([name, *shown, f"{scores['parameters']:,}"])
    head = [f"baselines: {primary}", *parts, "parameters"]
    say_table(head, rows, right=range(1, len(head)), indent=2)


def _course(summary: Mapping[str, Any], seconds: float | None) -> str:
    """`10 models (mean ± sd), 20 epochs, best epoch 17, 3.1 s`."""
    parts = []
    if "members" in summary:
        models = count(summary["members"], "model")
        parts.append(f"{models} (mean ± standard deviation; interval of the mean)")
        epochs = summary.get("epochs", {}).get("mean")
        parts.append(f"{value(epochs).removesuffix('.0000')} epochs" if epochs else "")
    elif "committee" in summary:
        parts.append(f"the mean of {summary['committee']} models")
    else:
        parts.append(count(summary["epochs"], "epoch"))
        if summary["best_epoch"] != summary["epochs"]:
            parts.append(f"best epoch {summary['best_epoch']}")
        parts.append("stopped early" if summary.get("stopped_early") else "")
    zero = (summary.get("weights") or {}).get("zero")
    zero = zero.get("mean") if isinstance(zero, Mapping) else zero
    parts.append(f"{100 * zero:.3g} % of the weights are 0" if zero is not None else "")
    if summary["status"] == "diverged":
        parts.append("diverged")
    parts.append(duration(seconds) if seconds is not None else "")
    return ", ".join(filter(None, parts))
