"""`nnexp plot …`: pictures of runs, of schedules, and of how optimizers move."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnexp.cli import console
from nnexp.cli.results import Part
from nnexp.errors import UsageError

plot = typer.Typer(
    help="Draw a picture: PNG, SVG or PDF, by the ending of -o.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="`nnexp plot WHAT --help` says more, with an example.",
)

Out = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .pdf."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's or a group's directory.")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN…", help="Runs or groups of runs.")]
Member = Annotated[
    int | None, typer.Option(min=0, help="Only this one of a group's members. [default: all]")
]
OneMember = Annotated[
    int | None, typer.Option(min=0, help="Which of a group's members. [default: the first]")
]
Split = Annotated[Part, typer.Option(help="The part of the data.")]


class Function(StrEnum):
    """Losses of two parameters."""

    ROSENBROCK = "rosenbrock"
    BEALE = "beale"
    SADDLE = "saddle"


@plot.command("curves")
def curves_(
    runs: Runs,
    output: Out,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What to draw; repeatable. [default: loss and the primary metric]"),
    ] = None,
) -> None:
    """Draw learning curves: all members of groups, their mean and its 95 % interval.

    \b
    Example:
      nnexp plot curves runs/constant/… runs/1cycle/… -o curves.png
    """
    from nnexp.analysis.results import read_result
    from nnexp.report.figures.curves import curves
    from nnexp.report.figures.style import check_path

    check_path(output)
    results = [read_result(path) for path in runs]
    titles = _titles(runs)
    histories = {
        title: [run.history() for run in result.runs]
        for title, result in zip(titles, results, strict=True)
    }
    if metric is None:
        primary = results[0].runs[0].config.get("metrics") or []
        metric = ["loss"]
        if primary and primary[0]["name"] != "loss":
            metric.append(primary[0]["name"])
    _save(curves(histories, metric), output)


@plot.command("schedule")
def schedule_(
    what: Annotated[
        Path, typer.Argument(metavar="CONFIG|RUN", help="A config, or a run or group as it ran.")
    ],
    output: Out,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the config; repeatable."),
    ] = None,
) -> None:
    """Draw learning rate and momentum, of a config before it is trained or of a run as it ran.

    \b
    Examples:
      nnexp plot schedule digits.yaml --set schedule=one_cycle -o schedule.png
      nnexp plot schedule runs/digits/2026-11-20T10-15-02-3f9a -o schedule.svg
    """
    from nnexp.report.figures.schedule import schedule
    from nnexp.report.figures.style import check_path

    check_path(output)
    course: Any
    if what.is_dir():
        if set_:
            raise UsageError("--set changes a config; a run is drawn as it was")
        from nnexp.analysis.pictures import as_ran, members_of

        course, title = as_ran(members_of(what)), f"{_titles([what])[0]}, as it ran"
    else:
        course, title = _planned(what, set_ or []), f"{what.name}, as planned"
    for note in course.notes:
        console.note(note, "warning")
    _save(schedule(course.epochs, course.values, title, course.recorded), output)


def _planned(path: Path, overrides: list[str]) -> Any:
    from nnexp.analysis.pictures import planned
    from nnexp.config.load import load_config
    from nnexp.errors import ConfigError
    from nnexp.search.curve import steps_an_epoch
    from nnexp.search.trials import Bench

    config = load_config(path, overrides)
    bench = Bench(path.absolute().parent)
    try:
        resolved = bench.resolved(config.experiment)
        return planned(resolved, steps_an_epoch(bench, resolved))
    except ConfigError as error:
        raise config.locate(error) from None


@plot.command("surface")
def surface_(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The picture: .png, .svg or .pdf."),
    ] = None,
    function: Annotated[Function, typer.Option(help="The loss.")] = Function.ROSENBROCK,
    optimizers: Annotated[
        str,
        typer.Option(
            metavar="A,B=RATE,…", help="Optimizers, each with a learning rate or without."
        ),
    ] = "sgd,momentum,nesterov,rmsprop,adam",
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Updates.")] = 200,
    gif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An animation of it, a .gif.")
    ] = None,
) -> None:
    """Draw the paths of optimizers over a loss of two parameters.

    An optimizer without a rate gets the one of 1e-4 … 10 (three a decade) that leads it lowest
    without climbing far above its start; the legend tells the rates.

    \b
    Examples:
      nnexp plot surface -o rosenbrock.png --gif rosenbrock.gif
      nnexp plot surface --function beale --optimizers sgd,adam=0.05,lion -o beale.svg
    """
    from nnexp.analysis.landscapes import labelled, named, paths
    from nnexp.report.figures.style import check_folder, check_path
    from nnexp.report.figures.surface import animation, surface
    from nnexp.runs.files import write_bytes

    if output is None and gif is None:
        raise UsageError("say where to: -o FILE for a picture, --gif FILE for an animation")
    if output is not None:
        check_path(output)
    if gif is not None:
        if gif.suffix.lower() != ".gif":
            raise UsageError(f"--gif: {gif} should end in .gif")
        check_folder(gif)
    landscape = named(function.value)
    wanted = [name.strip() for name in optimizers.split(",") if name.strip()]
    if not wanted:
        raise UsageError("--optimizers names none")
    found = labelled(paths(landscape, wanted, steps))
    if output is not None:
        _save(surface(landscape, found), output)
    if gif is not None:
        write_bytes(gif, animation(landscape, found))
        console.say_path(gif)


@plot.command("confusion")
def confusion_(run: Run, output: Out, split: Split = Part.TEST, member: Member = None) -> None:
    """Draw the confusion matrix: which classes are taken for which, over all members of a group.

    \b
    Example:
      nnexp plot confusion runs/digits/2026-11-20T10-15-02-3f9a -o confusion.png
    """
    from nnexp.analysis.pictures import confusion_counts, members_of
    from nnexp.report.figures.confusion import confusion
    from nnexp.report.figures.style import check_path

    check_path(output)
    members = members_of(run, member)
    counts, classes = confusion_counts(members, split.value)
    _save(confusion(counts, classes, _about(run, split, len(members))), output)


@plot.command("calibration")
def calibration_(run: Run, output: Out, split: Split = Part.TEST, member: Member = None) -> None:
    """Draw a reliability diagram: of what is said with 80 %, are four of five right?

    \b
    Example:
      nnexp plot calibration runs/digits/2026-11-20T10-15-02-3f9a -o calibration.png
    """
    from nnexp.analysis.pictures import members_of, probabilities
    from nnexp.report.figures.calibration import calibration
    from nnexp.report.figures.style import check_path

    check_path(output)
    members = members_of(run, member)
    chances, targets = probabilities(members, split.value)
    _save(calibration(chances, targets, _about(run, split, len(members))), output)


@plot.command("residuals")
def residuals_(run: Run, output: Out, split: Split = Part.TEST, member: Member = None) -> None:
    """Draw what a regression predicts against what is true, and what is left over.

    \b
    Example:
      nnexp plot residuals runs/diabetes/2026-11-20T10-15-02-3f9a -o residuals.png
    """
    from nnexp.analysis.pictures import members_of, values
    from nnexp.report.figures.residuals import residuals
    from nnexp.report.figures.style import check_path

    check_path(output)
    members = members_of(run, member)
    true, said, names = values(members, split.value)
    _save(residuals(true, said, names, _about(run, split, len(members))), output)


@plot.command("filters")
def filters_(run: Run, output: Out, member: OneMember = None) -> None:
    """Draw what the first layer of a network for images looks for.

    \b
    Example:
      nnexp plot filters runs/digits/2026-11-20T10-15-02-3f9a -o filters.png
    """
    from nnexp.analysis.pictures import members_of
    from nnexp.report.figures.filters import MOST, filters
    from nnexp.report.figures.style import check_path
    from nnexp.runs.inside import first_filters
    from nnexp.runs.rundir import RunDir

    check_path(output)
    weights = first_filters(RunDir(members_of(run, member)[0].path))
    shown = min(len(weights), MOST)
    told = f"{shown} of {len(weights)} filters" if shown < len(weights) else f"{shown} filters"
    _save(filters(weights, f"{_titles([run])[0]}: {told} of the first layer"), output)


@plot.command("boundary")
def boundary_(
    run: Run,
    output: Out,
    split: Split = Part.TRAIN,
    data_root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the run's data files are now.")
    ] = None,
) -> None:
    """Draw what a model of two inputs answers everywhere, and its examples.

    Of a group the mean answer, and each member's boundary as a thin line.

    \b
    Example:
      nnexp plot boundary runs/moons/2026-11-20T10-15-02-3f9a -o boundary.png
    """
    from nnexp.report.figures.boundary import Region, boundary
    from nnexp.report.figures.style import check_path
    from nnexp.runs.inside import around, plane, plane_points

    check_path(output)
    points, targets, names, classes = plane_points(run, split.value, data_root)
    region = Region(*plane(run, around(points)))
    title = _about(run, split, len(region.values))
    _save(boundary(region, points, targets, names, classes, title), output)


@plot.command("words")
def words_(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run's or a group's directory, or a word2vec file."),
    ],
    output: Out,
    count: Annotated[
        int, typer.Option("--count", "-n", min=2, max=2000, help="How many of the first words.")
    ] = 150,
    word: Annotated[
        list[str] | None, typer.Option("--word", metavar="WORD", help="Only these; repeatable.")
    ] = None,
    member: OneMember = None,
) -> None:
    """Draw a map of words: their vectors along the two directions in which they vary most.

    \b
    Examples:
      nnexp plot words runs/litbank/2026-11-20T10-15-02-3f9a -o words.png
      nnexp plot words vectors.txt --word sea --word ship --word house -o some.svg
    """
    from nnexp.analysis.vectors import vectors_at
    from nnexp.report.figures.style import check_path
    from nnexp.report.figures.words import main_directions, words

    check_path(output)
    vectors = vectors_at(run, member)
    rows = [vectors.row(one) for one in word] if word else list(range(len(vectors.words)))[:count]
    if len(rows) < 2:
        raise UsageError("a map needs two words at least")
    places, shares = main_directions(vectors.matrix[rows])
    title = f"{_titles([run])[0]}: {console.count(len(rows), 'word')}"
    _save(words(places, [vectors.words[row] for row in rows], shares, title), output)


def _save(figure: Any, path: Path) -> None:
    from nnexp.report.figures.style import save

    save(figure, path)
    console.say_path(path)


def _titles(runs: list[Path]) -> list[str]:
    """A name for each run: that of its config where they differ in it, else with its folder's."""
    whole = [path.absolute() for path in runs]
    owners = [path.parent.name for path in whole]
    if len(set(owners)) == len(runs):
        return owners
    named = [f"{path.parent.name}/{path.name}" for path in whole]
    return named if len(set(named)) == len(runs) else list(map(str, runs))


def _about(run: Path, split: Part, members: int) -> str:
    """What a picture is of."""
    of = f" ({console.count(members, 'member')})" if members > 1 else ""
    return f"{_titles([run])[0]}, {split.value}{of}"
