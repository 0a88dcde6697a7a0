"""The command line of scripts/bench, and its tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from . import memory, startup
from .results import Figure, Found, Timing

SECTIONS = ("speed", "startup", "memory", "augmentation", "words", "sweep", "health")
DEFAULT = ("speed", "startup")


def main(description: str | None) -> int:
    """Measure what the command line asks for; the exit code."""
    options = _options(description)
    wanted = SECTIONS if "all" in options.sections else options.sections or DEFAULT
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # for the commands of other sections
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    told: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds")}
    missed = False
    for section in (s for s in SECTIONS if s in wanted):
        found = _measure(section, options)
        _show(console, found)
        missed |= any(figure.missed for figure in found.figures)
        told[section] = {
            "timings": [timing.to_json() for timing in found.timings],
            "figures": [figure.to_json() for figure in found.figures],
            "notes": found.notes,
        }
    told["machine"] = _machine()
    console.print(", ".join(f"{key} {value}" for key, value in told["machine"].items()))
    if options.json:
        options.json.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return 1 if missed and options.strict else 0


def _options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION",
        help=f"{', '.join(SECTIONS)}, all (default: speed and startup)")  # fmt: skip
    add("--quick", action="store_true", help="fewer and shorter rounds: under a minute")
    add("--rounds", type=int, help="rounds (9; 3 with --quick; of memory 3 at most)")
    add("--threads", type=int, help="threads for every contender (default: as many as torch takes)")
    add("--gigabytes", type=float, help="size of memory's file (4; 1.5 with --quick)")
    add("--dir", type=Path, help="where it is written (default: the system's temporary folder)")
    add("--json", type=Path, metavar="FILE", help="also write all measurements there")
    add("--strict", action="store_true", help="exit code 1 if a promise is not kept")
    options = parser.parse_args()
    for section in options.sections:
        if section not in (*SECTIONS, "all"):
            parser.error(f"there is no section {section}; there are {', '.join(SECTIONS)}, all")
    for name in ("rounds", "threads", "gigabytes"):
        if (value := getattr(options, name)) is not None and value <= 0:
            parser.error(f"--{name} should be above 0, not {value:g}")
    return options


def _measure(section: str, options: argparse.Namespace) -> Found:
    quick = options.quick
    rounds = options.rounds or (3 if quick else 9)
    if section == "startup":
        return startup.measure(rounds)
    if section == "memory":
        return memory.measure(
            options.gigabytes or (1.5 if quick else 4.0), options.dir, min(rounds, 3)
        )
    if section == "augmentation":
        from . import augmentation

        return augmentation.measure(rounds, quick, options.threads)
    if section == "words":
        from . import words

        return words.measure(rounds, quick, options.threads)
    if section == "health":
        from . import health

        return health.measure(rounds, quick, options.threads)
    if section == "sweep":
        from . import sweep

        return sweep.measure(min(rounds, 3), quick)
    from . import speed  # imports torch, which the others do without

    return speed.measure(rounds, quick, options.threads)


def _machine() -> dict[str, Any]:
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


# -- the tables ------------------------------------------------------------------------------------


def _show(console: Console, found: Found) -> None:
    for case in dict.fromkeys([*(t.case for t in found.timings), *(f.case for f in found.figures)]):
        timings = [t for t in found.timings if t.case == case]
        if timings:
            console.print(_timings(case, timings))
        if figures := [f for f in found.figures if f.case == case]:
            console.print(_figures(figures))
    for note in found.notes:
        console.print(note)


def _timings(case: str, timings: Iterable[Timing]) -> Table:
    table = Table("time a step and model" if "batch" in case else "time", title=case)
    for column in ("median", "least", "most"):
        table.add_column(column, justify="right")
    for timing in timings:
        seconds = timing.seconds
        shown = [_duration(s) for s in (median(seconds), min(seconds), max(seconds))]
        table.add_row(timing.who, *shown)
    return table


def _figures(figures: Iterable[Figure]) -> Table:
    table = Table("figure")
    for column in ("median", "least–most", "bound", "goal"):
        table.add_column(column, justify="right")
    table.add_column("")
    for figure in figures:
        spread = ""
        if figure.values:
            low, high = min(figure.values), max(figure.values)
            spread = f"{_amount(low, figure.unit)}–{_amount(high, figure.unit)}"
        style = "bold red" if figure.missed else "green" if figure.bound is not None else ""
        table.add_row(
            figure.what,
            _amount(figure.value, figure.unit) if figure.values else "",
            spread,
            *(
                "" if b is None else f"≤ {_amount(b, figure.unit)}"
                for b in (figure.bound, figure.goal)
            ),
            f"[{style}]{figure.verdict}[/]" if style else figure.verdict,
        )
    return table


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 0.02 else f"{seconds:.2f} s"


def _amount(value: float, unit: str) -> str:
    if unit != "×":
        return f"{value:.2f} {unit}"
    return f"1/{1 / value:.1f}" if 0 < value < 0.2 else f"{value:.2f}"
