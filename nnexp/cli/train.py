"""`nnexp train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli.options import AsJson, Device, Experiment, Folder, Overrides, Quiet
from nnexp.errors import ConfigError, NnexpError, UsageError


def train(
    config: Experiment = None,
    set_: Overrides = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Train N models that differ in their seed."),
    ] = None,
    splits: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Train K models that differ in seed and split."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Same as --set training.epochs=N; with --resume, train longer.",
        ),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="Where to train; auto: on a GPU if there is one.")
    ] = None,
    out: Folder = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with an interrupted run or group.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train an experiment: one run, or a group of runs.

    --seeds and --splits make a group, trained as one program. The path is printed last.
    Ctrl-C writes a checkpoint first; --resume then goes on exactly.

    \b
    Examples:
      nnexp train digits.yaml
      nnexp train digits.yaml --seeds 10 --set optimizer.lr=0.03
      nnexp train --resume runs/digits/2026-11-20T10-15-02-3f9a
    """
    if (config is None) == (resume is None):
        raise UsageError("train takes either a CONFIG or --resume RUN")
    if seeds is not None and splits is not None:
        raise UsageError("give only one of --seeds and --splits (which varies the seed as well)")
    if resume is not None:
        given = {"--set": set_, "--splits": splits, "--device": device, "--out": out}
        if wrong := [name for name, value in given.items() if value]:
            raise UsageError(
                f"{', '.join(wrong)} can't be given with --resume, which goes on with the run as "
                "it was (--epochs and --seeds extend it)"
            )
        _resume(resume, epochs, seeds, quiet, as_json)
        return
    assert config is not None
    overrides = list(set_ or ())
    if epochs is not None:
        overrides.append(f"training.epochs={epochs}")
    if device is not None:
        overrides.append(f"training.device={device.value}")
    _start(config, overrides, {"seeds": seeds, "splits": splits}, out, quiet, as_json)


def _start(
    path: Path,
    overrides: list[str],
    members: dict[str, int | None],
    out: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    if (path / "manifest.json").is_file():
        raise UsageError(f"{path} is a run; to go on with it: nnexp train --resume {path}")
    from nnexp.config.load import Config, load_config
    from nnexp.runs.execute import Order, assist, start

    def order() -> tuple[Config, Order]:
        config = load_config(path, overrides)
        folder, seeds, splits = config.path.absolute().parent, members["seeds"], members["splits"]
        kept = config.overrides
        return config, Order(config.experiment, config.text, folder, seeds, splits, kept)

    if _assists():
        with _silence():
            assist(order()[1])
        return
    config, wanted = order()
    from nnexp.cli.live import Live

    with Live(quiet, as_json, path) as live:
        try:
            live.run = start(wanted, out or Path("runs"), live)
        except ConfigError as error:
            raise config.locate(error) from None


def _resume(path: Path, epochs: int | None, seeds: int | None, quiet: bool, as_json: bool) -> None:
    from nnexp.runs.rundir import RunDir, command_of, is_sweep

    if is_sweep(path):
        raise UsageError(f"{path} is a sweep; go on with: nnexp {command_of(path)} --resume {path}")
    RunDir.open(path)  # tells quickly what is wrong
    from nnexp.cli.live import Live
    from nnexp.runs.resume import assist, resume

    if _assists():
        with _silence():
            assist(path, epochs)
        return
    with Live(quiet, as_json) as live:
        live.run = resume(path, live, epochs, seeds)


def _assists() -> bool:
    """Whether torchrun has started this process to help another one, which does the talking."""
    from nnexp.train.parallel import told_rank

    return told_rank() > 0


@contextmanager
def _silence() -> Iterator[None]:
    """Ends the process with an error's exit code, and no words: the first process says them."""
    try:
        yield
    except NnexpError as error:
        raise typer.Exit(error.exit_code) from None
