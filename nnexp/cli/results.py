"""`nnexp eval`, `compare`, `runs` and `show`: what runs have left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import AsJson, DataRoot, Overrides, Part, Run, check_data_root
from nnexp.errors import ConfigError, UsageError


def eval_(
    run: Run,
    split: Annotated[
        Part | None, typer.Option(help="The part of its data to score. [default: test]")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Score new data from this file instead.")
    ] = None,
    data_root: DataRoot = None,
    angles: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Average over the image turned by these, °.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Average over these heights in pixels.")
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average over the mirror image, too.")
    ] = False,
    mc_dropout: Annotated[
        int | None, typer.Option(metavar="K", help="Average over K samples with dropout on.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="One pass only, whatever the run's test_time says.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score a run or a group, on its data or on new data.

    \b
    Examples:
      nnexp eval runs/digits/2026-11-20T10-15-02-3f9a
      nnexp eval runs/adult/2026-11-20T10-15-02-3f9a --data new.csv
      nnexp eval runs/digits/2026-11-20T10-15-02-3f9a --angles=-15,0,15 --mc-dropout 20

    With any of --angles, --sizes, --flip, --mc-dropout and --plain the run's own test_time is left
    aside.
    """
    if data is not None and (split or data_root):
        raise UsageError(
            "--data scores a file of its own: --split and --data-root don't go with it"
        )
    from nnexp.cli.scoring import asked_for, scores_to_json, show_scores
    from nnexp.runs.rundir import RunDir

    test_time = asked_for(angles, sizes, flip, mc_dropout, plain)

    check_data_root(data_root)
    opened = RunDir.open(run)  # tells quickly what is wrong
    from nnexp.runs.score import evaluate_run

    is_group = opened.read_manifest()["kind"] == "group"
    found = evaluate_run(run, (split or Part.TEST).value, data, data_root, test_time)
    if as_json:
        console.say_json(scores_to_json(run, found, is_group))
    else:
        show_scores(found, is_group)


def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B …",
            help="All runs, or all groups of runs; beside them CSV files of predictions.",
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(help="What the verdict is about; also time_to(…). [default: the primary one]"),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Differences smaller than this don't matter.")
    ] = None,
    split: Annotated[Part, typer.Option(help="The part of the data to compare on.")] = Part.TEST,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the learning curves (.png, .svg, .pdf)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how runs differ, and whether it was luck.

    Compares two or more runs, or two or more groups of runs: their configs and their results.

    Only the primary metric gets a verdict; the others and the cost are shown beside it.

    A model from elsewhere is a CSV file with a row an example: its id as in the run's
    predictions.csv, and a prediction, the probabilities of all classes (p(NAME), …) or outputs
    (output_0, …); target and split if it likes. A group over seeds is held against it member by
    member.

    \b
    Examples:
      nnexp compare runs/constant/… runs/1cycle/…
      nnexp compare runs/constant/… predictions-of-a-forest.csv
      nnexp compare runs/constant/… runs/1cycle/… --metric loss --margin 0.01
      nnexp compare runs/constant/… runs/1cycle/… --metric "time_to(dev/accuracy >= 0.95)"
      nnexp compare runs/constant/… runs/1cycle/… --metric "time_to(dev/loss <= 0.3, steps)"
    """
    if metric is not None and _is_time(metric):
        if margin is not None or plot is not None:
            raise UsageError("--margin and --plot don't go with a time_to")
        _compare_times(paths, metric, as_json)
        return
    from nnexp.analysis.comparing.compare import compare as compare_runs

    found = compare_runs(paths, metric, margin, split.value)
    if plot is not None:
        from nnexp.analysis.comparing.compare import histories
        from nnexp.report.figures.curves import curves
        from nnexp.report.figures.style import save

        save(curves(histories(found), found.metric), plot)
    if as_json:
        console.say_json(found.to_json())
        return
    from nnexp.cli.comparing import show_comparison

    show_comparison(found)
    if plot is not None:
        console.note(f"learning curves: {plot}")


def _is_time(metric: str) -> bool:
    from nnexp.analysis.comparing.time_to import is_goal

    return is_goal(metric)


def _compare_times(paths: list[Path], metric: str, as_json: bool) -> None:
    from nnexp.analysis.comparing.time_to import compare_times, parse

    found = compare_times(paths, parse(metric))
    if as_json:
        console.say_json(found.to_json())
        return
    from nnexp.cli.timing import show_times

    show_times(found)


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to look.", show_default=True)
    ] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs, groups and sweeps in a folder, newest first.

    \b
    Example:
      nnexp runs
    """
    from nnexp.cli.listing import entries_to_json, show_entries
    from nnexp.runs.index import find

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found = find(folder)
    if as_json:
        console.say_json(entries_to_json(found))
    else:
        show_entries(found, folder)


def show(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|SWEEP|CONFIG", help="A run's or sweep's directory, or a config."
        ),
    ],
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Fill in every default (a config's data are read).")
    ] = False,
    set_: Overrides = None,
    metric: Annotated[
        str | None, typer.Option(metavar="TIME_TO", help="Show when the run reached a goal.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a run: what it was, what came out, which files it left. Or a sweep; or a config.

    \b
    Examples:
      nnexp show runs/digits/2026-11-20T10-15-02-3f9a
      nnexp show runs/digits/2026-11-20T10-15-02-3f9a --metric "time_to(dev/error < 0.05)"
      nnexp show --resolved digits.yaml
    """
    if metric is not None:
        _show_time(path, metric, as_json)
        return
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        _show_config(path, resolved, set_ or [], as_json)
        return
    if set_:
        raise UsageError("--set changes a config, and can't be given for a run")
    from nnexp.cli.listing import run_to_json, show_run
    from nnexp.runs.rundir import RunDir, is_sweep

    if is_sweep(path):
        _show_sweep(path, resolved, as_json)
        return
    run = RunDir.open(path)
    if resolved:
        _show_yaml(run.read_config(), as_json)
    elif as_json:
        console.say_json(run_to_json(run))
    else:
        show_run(run)


def _show_sweep(path: Path, resolved: bool, as_json: bool) -> None:
    """What a sweep searches and has found."""
    from nnexp.cli.sweep_show import show_sweep_dir, sweep_to_json
    from nnexp.search.folder import SweepDir

    sweep = SweepDir.open(path)
    if resolved:
        raise UsageError(f"--resolved is for runs: take {sweep.best.path}")
    if as_json:
        console.say_json(sweep_to_json(sweep))
    else:
        show_sweep_dir(sweep)


def _show_time(path: Path, metric: str, as_json: bool) -> None:
    """When a run, or each run of a group, reached a goal."""
    from nnexp.analysis.comparing.time_to import TimeComparison, notes, parse, times
    from nnexp.analysis.results import read_result

    goal = parse(metric)
    sides = (times(read_result(path), goal),)
    found = TimeComparison(goal, sides, (), notes(sides, goal))
    if as_json:
        console.say_json(found.to_json())
        return
    from nnexp.cli.timing import show_times

    show_times(found)


def _show_config(path: Path, resolved: bool, overrides: list[str], as_json: bool) -> None:
    from nnexp.config import source
    from nnexp.config.load import load_config

    config = load_config(path, overrides)
    if not resolved:
        _show_yaml(source.plain(config.node), as_json)
        return
    from nnexp.runs.plan import plan_members

    try:
        plan = plan_members(config.experiment, path.absolute().parent, 1, False)
    except ConfigError as error:
        raise config.locate(error) from None
    for text in plan.notes:
        console.note(text, "warning")
    _show_yaml(plan.resolved.dump(), as_json)


def _show_yaml(data: object, as_json: bool) -> None:
    from nnexp.config.source import dump

    if as_json:
        console.say_json(data)
    else:
        console.say_verbatim(dump(data))
