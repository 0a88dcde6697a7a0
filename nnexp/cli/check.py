"""`nnexp check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnexp.checks.verdict import Verdict, counted
from nnexp.cli import console
from nnexp.cli.options import AsJson, Device, Overrides
from nnexp.errors import CheckFailed, ConfigError, UsageError

_STYLES: dict[str, console.Style] = {"pass": "good", "look": "warning", "fail": "bad"}
_NAME = 26
"""Columns that the longest name of a check takes."""


def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment, a YAML file.")],
    set_: Overrides = None,
    device: Annotated[
        Device | None,
        typer.Option(help="Where to run the network; auto: on a GPU if there is one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at data, network and learning rate before training.

    Each check says pass, look or fail, and what to do. Nothing is written; it takes seconds. The
    exit code is 5 if a check fails, else 0. --json has checks (name, verdict, text, advice),
    counts, and the curve and bounds of the learning-rate range test.

    \b
    Examples:
      nnexp check digits.yaml
      nnexp check digits.yaml --set optimizer.lr=3
    """
    if (config / "manifest.json").is_file():
        raise UsageError(f"{config} is a run; to check what it was trained from, give its config")
    from nnexp.checks.check import check as run_checks
    from nnexp.config.load import load_config

    overrides = list(set_ or ())
    if device is not None:
        overrides.append(f"training.device={device.value}")
    loaded = load_config(config, overrides)
    folder = loaded.path.absolute().parent
    if loaded.experiment.sweep is not None:
        console.note("a sweep's trials differ from this: the config is checked as it stands")
    told = _ignore if as_json else _show
    try:
        found = run_checks(loaded.experiment, folder, told)
    except ConfigError as error:
        raise loaded.locate(error) from None
    if as_json:
        console.say_json(found.to_json())
    else:
        console.say(counted(found.verdicts), "bold")
    if found.count("fail"):
        raise typer.Exit(CheckFailed.exit_code)


def _show(verdict: Verdict) -> None:
    """What a check says, and its advice below."""
    said = (verdict.verdict, _STYLES[verdict.verdict])
    rows: list[list[console.Cell]] = [[said, f"{verdict.name:<{_NAME}}", verdict.text]]
    if verdict.advice:
        rows.append(["", "", ("→ " + verdict.advice, "bold")])
    console.say_table(["", "", ""], rows, whole=(0, 1))


def _ignore(_: Verdict) -> None:
    """Nothing is shown until all is known."""
