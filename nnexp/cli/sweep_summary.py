"""What a sweep found, in the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from nnexp.cli.console import Cell, count, interval, say, say_table, value
from nnexp.search.folder import SweepDir

TOP = 5
"""Trials that are shown."""
WIDE = 3
"""Keys of a table that fit beside each other; more stand below each other."""


def show_sweep(sweep: SweepDir, summary: Mapping[str, Any]) -> None:
    """The best trials, what mattered, and the winner's honest score; of arms, who won."""
    if "arms" not in summary:
        _show_search(sweep, summary)
        return
    for arm, found in summary["arms"].items():
        say(f"{arm}", "bold")
        _show_search(SweepDir(sweep.path / "arms" / arm), found)
        say()
    if summary.get("shared"):
        _show_shared(summary["shared"])
    if "comparison" in summary:
        _show_comparison(summary["comparison"], list(summary["arms"]))


def _show_search(sweep: SweepDir, summary: Mapping[str, Any]) -> None:
    metric, higher = summary["metric"], summary["higher_is_better"]
    rows = list(csv.DictReader(io.StringIO(sweep.table.read_text())))
    good = [row for row in rows if row["state"] == "finished" and row[metric]]
    good.sort(key=lambda row: float(row[metric]) * (-1 if higher else 1))
    _show_best(good[:TOP], metric)
    left = [f"{summary[s]} {s}" for s in ("diverged", "pruned", "invalid") if summary.get(s)]
    parts = [count(summary["trials"], "trial"), count(summary["packs"], "pack"), *left]
    say("  " + ", ".join(parts), "dim")
    if summary.get("importance"):
        shares = [f"{name} {share:.0%}" for name, share in summary["importance"].items()]
        say("  what mattered: " + ", ".join(shares), "dim")
    if summary.get("fresh"):
        _show_honest(summary)
    if sweep.best_config.is_file():
        say(f"  the winner's config: {sweep.best_config}", "dim")


def _show_best(rows: Sequence[Mapping[str, str]], metric: str) -> None:
    if not rows:
        return
    skipped = ("trial", "state", metric, "sd", "epochs", "seconds")
    keys = [key for key in rows[0] if key not in skipped]
    table: list[list[Cell]]
    if len(keys) <= WIDE:
        table = [
            [row["trial"], value(float(row[metric])), *(_short(row[key]) for key in keys)]
            for row in rows
        ]
        say_table(["trial", metric, *keys], table, right=range(2 + len(keys)), indent=2)
        return
    table = [[metric, *(value(float(row[metric])) for row in rows)]]
    table += [[name, *(_short(row[name]) for row in rows)] for name in keys]
    say_table(["trial", *(row["trial"] for row in rows)], table, right=range(1, 6), indent=2)


def _show_honest(summary: Mapping[str, Any]) -> None:
    metric, fresh = summary["metric"], summary["fresh"]
    part, _, name = metric.partition("/")
    found = f"{metric} in the search (trial {summary['best']['trial']})"
    rows: list[list[Cell]] = [[found, value(summary["best"]["score"]), ""]]
    for split in (part, "test"):
        if split in fresh:
            scored = fresh[split]
            label = f"{split}/{name} on {count(fresh['seeds'], 'fresh seed')}"
            rows.append([label, value(scored["mean"]), interval(scored["interval"])])
    rows[-1] = [(str(cell), "bold") for cell in rows[-1]]
    last = "test" if "test" in fresh else part
    label = f"selection bias: search − {last} (luck of the best)"
    rows.append([label, f"{fresh['selection_bias']:+.3g}", ""])
    say_table(["the winner", "", "95 % interval"], rows, right=(1, 2), indent=2)


def _show_shared(shared: Mapping[str, Any]) -> None:
    """Who is ahead at the same settings: what a comparison without tuning might have found."""
    say(f"untuned (at each of {count(shared['settings'], 'setting')} that all arms tried)", "bold")
    for arm, found in shared["arms"].items():
        text = f"  {arm} is ahead at {found['ahead']}"
        if "most" in found:
            at = ", ".join(f"{key} {_short(given)}" for key, given in found["most"]["at"].items())
            scores = ", ".join(f"{name} {value(x)}" for name, x in found["most"]["scores"].items())
            text += f", by most at {at}: {scores}"
        say(text)


def _show_comparison(comparison: Mapping[str, Any], arms: Sequence[str]) -> None:
    """The verdicts on the winners, each called by its arm."""
    names = {side["label"]: arm for side, arm in zip(comparison["runs"], arms, strict=True)}
    listed = ", ".join(f"{label} = {arm}" for label, arm in names.items())
    say(f"tuned against tuned ({listed})", "bold")
    for warning in comparison["warnings"]:
        say(f"  {warning}", "warning")
    for pair in comparison["pairs"]:
        say(f"  {pair['sentence']}")


def _short(text: str) -> str:
    """A cell of trials.csv, with few digits, or cut."""
    try:
        return f"{float(text):.4g}"
    except ValueError:
        pass
    return text if len(text) <= 24 else text[:23] + "…"
