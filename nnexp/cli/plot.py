"""`nnexp plot …`: pictures of runs, of schedules, and of how optimizers move."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnexp.cli import console
from nnexp.cli.options import DataRoot, Part, Run
from nnexp.cli.picture import Out, save, titles
from nnexp.cli.plans import schedule, surface
from nnexp.errors import UsageError

plot = typer.Typer(
    name="plot",
    help="Draw a picture: PNG, SVG or PDF, by the ending of -o.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="`nnexp plot WHAT --help` says more, with an example.",
)

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep's directory.")]
Arm = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which of a sweep's arms, if it has any.")
]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN…", help="Runs or groups of runs.")]
Member = Annotated[
    int | None, typer.Option(min=0, help="Only this one of a group's members. [default: all]")
]
OneMember = Annotated[
    int | None, typer.Option(min=0, help="Which of a group's members. [default: the first]")
]
Split = Annotated[Part, typer.Option(help="The part of the data.")]


@plot.command("curves")
def curves_(
    runs: Runs,
    output: Out,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What to draw; repeatable. [default: loss and the primary metric]"),
    ] = None,
    gap: Annotated[bool, typer.Option("--gap", help="Draw dev − train, too.")] = False,
) -> None:
    """Draw learning curves, of groups each member and the mean.

    A band about the mean is its 95 % interval. Several runs or groups stand in one picture.

    \b
    Examples:
      nnexp plot curves runs/constant/… runs/1cycle/… -o curves.png
      nnexp plot curves runs/constant/… --metric loss --gap -o gap.svg
    """
    from nnexp.analysis.results import read_result
    from nnexp.report.figures.curves import curves
    from nnexp.report.figures.style import check_path

    check_path(output)
    results = [read_result(path) for path in runs]
    names = titles(runs)
    if len(set(names)) < len(names):
        raise UsageError("the same run is named twice")
    histories = {
        name: [run.history() for run in result.runs]
        for name, result in zip(names, results, strict=True)
    }
    if metric is None:
        primary = results[0].runs[0].config.get("metrics") or []
        metric = ["loss"]
        if primary and primary[0]["name"] != "loss":
            metric.append(primary[0]["name"])
    save(curves(histories, metric, gap), output)


plot.command("schedule")(schedule)


@plot.command("confusion")
def confusion_(run: Run, output: Out, split: Split = Part.TEST, member: Member = None) -> None:
    """Draw the confusion matrix: which class is taken for which.

    Of a group the counts of all members are added.

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
    save(confusion(counts, classes, _about(run, split, len(members))), output)


@plot.command("calibration")
def calibration_(run: Run, output: Out, split: Split = Part.TEST, member: Member = None) -> None:
    """Draw a reliability diagram: are four of five right at 80 %?

    Of a group the answers of all members are put together; intervals count an example once.

    \b
    Example:
      nnexp plot calibration runs/digits/2026-11-20T10-15-02-3f9a -o calibration.png
    """
    from nnexp.analysis.pictures import members_of, probabilities, times_answered
    from nnexp.report.figures.calibration import calibration
    from nnexp.report.figures.style import check_path

    check_path(output)
    members = members_of(run, member)
    chances, targets = probabilities(members, split.value)
    title = _about(run, split, len(members))
    times = times_answered(members, split.value)
    save(calibration(chances, targets, title, times=times), output)


@plot.command("pr")
def pr_(
    run: Run,
    output: Out,
    name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="The class, or label, that is to be found. [default: the second of two]",
        ),
    ] = None,
    split: Split = Part.TEST,
    member: Member = None,
) -> None:
    """Draw precision against recall, a class against the rest.

    Every threshold gives a point. Of a group each member is a thin line, and the mean a thick one.

    \b
    Examples:
      nnexp plot pr runs/breast-cancer/2026-11-20T10-15-02-3f9a -o pr.png
      nnexp plot pr runs/digits/2026-11-20T10-15-02-3f9a --class 8 -o pr.svg
    """
    from nnexp.analysis.pictures import members_of
    from nnexp.analysis.precision_recall import precision_recall as judged
    from nnexp.analysis.results import read_result
    from nnexp.report.figures.precision_recall import precision_recall
    from nnexp.report.figures.style import check_path

    check_path(output)
    members = members_of(run, member)
    result = read_result(run) if member is None else members[0]
    found = judged(result, split.value, name)
    title = f"{found.name} against the rest: {_about(run, split, len(found.curves))}"
    save(precision_recall(found, title), output)


@plot.command("residuals")
def residuals_(run: Run, output: Out, split: Split = Part.TEST, member: Member = None) -> None:
    """Draw what a regression predicts against what is true.

    Below, what is left over: a pattern in it is something that the network has not learnt.

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
    save(residuals(true, said, names, _about(run, split, len(members))), output)


@plot.command("layers")
def layers_(run: Run, output: Out, member: OneMember = None) -> None:
    """Draw each layer's outputs and gradients over training.

    Gradients that shrink from panel to panel vanish; outputs that widen explode; outputs whose
    band is a line are dead.

    \b
    Example:
      nnexp plot layers runs/digits/2026-11-20T10-15-02-3f9a -o layers.png
    """
    from nnexp.analysis.diagnosing.layers import read_health
    from nnexp.analysis.pictures import members_of
    from nnexp.report.figures.layers import layers
    from nnexp.report.figures.style import check_path

    check_path(output)
    one = members_of(run, member)[0]
    table = read_health(one)
    if not table:
        raise UsageError(
            f"{one.path} has no record of its layers: training.record_health was off, or training "
            "was too short for one (--set training.record_health=every_epoch takes one each epoch)"
        )
    which = "" if one.path == run else f", {one.path.name}"
    save(layers(table, f"{titles([run])[0]}{which}: its layers while it learnt"), output)


@plot.command("parallel")
def parallel_(sweep: Sweep, output: Out, arm: Arm = None) -> None:
    """Draw a sweep's trials as lines over all searched keys.

    \b
    Example:
      nnexp plot parallel runs/sweep-digits/2026-11-20T10-15-02-3f9a -o parallel.png
    """
    _search(sweep, "parallel", output, arm)


@plot.command("slices")
def slices_(sweep: Sweep, output: Out, arm: Arm = None) -> None:
    """Draw a sweep's scores against each searched key.

    \b
    Example:
      nnexp plot slices runs/sweep-digits/2026-11-20T10-15-02-3f9a -o slices.png
    """
    _search(sweep, "slices", output, arm)


def _search(path: Path, kind: str, output: Path, arm: str | None) -> None:
    from nnexp.cli.sweep_show import drawn, home_of
    from nnexp.report.figures.style import check_path

    check_path(output)
    save(drawn(home_of(path, arm), kind), output)


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
    save(filters(weights, f"{titles([run])[0]}: {told} of the first layer"), output)


@plot.command("boundary")
def boundary_(
    run: Run,
    output: Out,
    split: Split = Part.TRAIN,
    data_root: DataRoot = None,
) -> None:
    """Draw what a model of two inputs answers everywhere.

    Its examples stand on it. Of a group the mean answer, and each member's boundary as a thin line.

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
    save(boundary(region, points, targets, names, classes, title), output)


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
    """Draw a map of words along their two main directions.

    These are the directions in which their vectors vary most; what they leave out may be much.

    \b
    Examples:
      nnexp plot words runs/litbank/2026-11-20T10-15-02-3f9a -o words.png
      nnexp plot words vectors.txt --word sea --word ship --word house -o some.svg
    """
    from nnexp.analysis.words.vectors import vectors_at
    from nnexp.report.figures.style import check_path
    from nnexp.report.figures.words import main_directions, words

    check_path(output)
    vectors = vectors_at(run, member)
    rows = [vectors.row(one) for one in word] if word else list(range(len(vectors.words)))[:count]
    if len(rows) < 2:
        raise UsageError("a map needs two words at least")
    places, shares = main_directions(vectors.matrix[rows])
    title = f"{titles([run])[0]}: {console.count(len(rows), 'word')}"
    save(words(places, [vectors.words[row] for row in rows], shares, title), output)


def _about(run: Path, split: Part, members: int) -> str:
    """What a picture is of."""
    of = f" ({console.count(members, 'member')})" if members > 1 else ""
    return f"{titles([run])[0]}, {split.value}{of}"


plot.command("surface")(surface)
