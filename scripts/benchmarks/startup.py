"""How long whole commands take, the interpreter's start included."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .results import Figure, Found, Timing, interleave, ratios

CASE = "start-up"
TORCH, TRAIN = "python -c 'import torch'", "nnexp train configs/digits.yaml (20 epochs)"
CONFIGS = Path(__file__).parents[2] / "configs"
NNEXP = Path(sys.executable).with_name("nnexp")
TYPO = """\
data: {source: digits}
model: {name: mlp, hiden: [64]}
optimizer: adamm
training: {epochs: 0}
"""


@dataclass(frozen=True)
class Command:
    """A command line, the exit code that it should end with, and the seconds it may take."""

    words: Sequence[str | Path]
    code: int = 0
    bound: float | None = None


class Failed(Exception):
    """A command ended otherwise than it should."""


def measure(rounds: int) -> Found:
    """Whole processes, in turn."""
    with TemporaryDirectory(prefix="nnexp-bench-") as name:
        folder = Path(name)
        found = Found([], [], [])
        commands = _commands(folder)
        runs = {}
        for what, command in commands.items():
            try:
                execute(command)
            except Failed as error:
                problem = Figure(CASE, what, (), "s", command.bound, problem=str(error))
                found.figures.append(problem)
            else:
                runs[what] = _timed(command)
        times = interleave(runs, rounds, CASE)
    found.timings += [Timing(CASE, what, seconds) for what, seconds in times.items()]
    if TRAIN in times:
        ratio = ratios(times[TRAIN], times[TORCH])
        found.figures.append(Figure(CASE, f"{TRAIN} / {TORCH}", ratio, bound=2.0))
    for what, seconds in times.items():
        if commands[what].bound is not None:
            found.figures.append(Figure(CASE, what, seconds, "s", commands[what].bound))
    return found


def execute(command: Command) -> str:
    """Run a command; what it printed. Raises Failed."""
    try:
        done = subprocess.run(command.words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"can't be run: {error.strerror}") from None
    if done.returncode != command.code:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Failed(f"exit code {done.returncode}, not {command.code}: {''.join(last)}")
    return done.stdout


def _commands(folder: Path) -> dict[str, Command]:
    typo = folder / "typo.yaml"
    typo.write_text(TYPO)
    train: list[str | Path] = [NNEXP, "train", "--out", folder]
    commands = {
        TORCH: Command([sys.executable, "-c", "import torch"]),
        TRAIN: Command([*train, CONFIGS / "digits.yaml"]),
        "nnexp --help": Command([NNEXP, "--help"], bound=0.5),
        "nnexp ls": Command([NNEXP, "ls"], bound=0.5),
        "nnexp schema": Command([NNEXP, "schema"], bound=0.5),
        "nnexp train, a config with errors": Command([*train, typo], code=2, bound=0.5),
    }
    runs: list[Path] = []
    for name in ("question-constant", "question-1cycle"):
        with suppress(Failed):  # comparing then fails, and that is shown
            execute(Command([*train, CONFIGS / f"{name}.yaml"]))
        runs += sorted((folder / name).glob("*/"))[:1] or [folder / name]
    commands["nnexp compare, two runs"] = Command([NNEXP, "compare", *runs], bound=1.2)
    return commands


def _timed(command: Command) -> Callable[[], float]:
    def run() -> float:
        begun = time.perf_counter()
        execute(command)
        return time.perf_counter() - begun

    return run
