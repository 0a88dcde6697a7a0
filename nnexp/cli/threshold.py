"""`nnexp threshold`: where to decide for a class or label, tuned on dev and judged on test."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.options import AsJson, Run

SHOWN_LABELS = 20
"""Of so many labels each is shown."""


def threshold(
    run: Run,
    metric: Annotated[
        str, typer.Option(help="What to tune for: f1, balanced_accuracy, accuracy or mcc.")
    ] = "f1",
    positive: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="The class to find. [default: the second]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tune the decision threshold of two classes, or of labels.

    The threshold is chosen on dev; its score on test stands beside that of the run's own decisions
    (a probability of 0.5). Then come precision and recall at other thresholds. F1 is that of the
    class to find. The run is not touched: `nnexp predict --threshold` decides so.

    \b
    Examples:
      nnexp threshold runs/adult/2026-11-20T10-15-02-3f9a
      nnexp threshold runs/adult/2026-11-20T10-15-02-3f9a --metric balanced_accuracy
    """
    from nnexp.analysis.threshold import tune

    found = tune(run, metric, positive)
    for text in found.notes:
        console.warn(text)
    if as_json:
        console.say_json(found.to_json())
        return
    _show(found)


def _show(found: Any) -> None:
    first = found.members[0]
    what = f"of {first[0].name}" if len(first) == 1 else "of each label"
    console.say(f"{found.metric} {what}, with the threshold that is best on dev", "bold")
    (_one if len(first) == 1 else _labels)(found)
    _gain(found)
    _use(found)
    if len(found.members) == 1 and len(first) == 1:
        _points(first[0])


def _one(found: Any) -> None:
    """The scores of one class by split."""
    tuned = [member[0] for member in found.members]
    thresholds = [one.threshold for one in tuned]
    where = f"{thresholds[0]:g}" if len(tuned) == 1 else _over(thresholds)
    rows: list[list[Cell]] = [
        [
            (split, "name"),
            _over([one.before[split] for one in tuned]),
            _over([one.after[split] for one in tuned]),
        ]
        for split in tuned[0].before
    ]
    console.say_table(["", f"at {found.default:g}", f"at {where}"], rows, right=[1, 2], indent=2)


def _labels(found: Any) -> None:
    """The threshold of each label, and its scores on test, or on dev where there is no test."""
    count = len(found.members[0])
    split = "test" if "test" in found.members[0][0].before else "dev"
    rows: list[list[Cell]] = []
    for k in range(min(count, SHOWN_LABELS)):
        tuned = [member[k] for member in found.members]
        where = _over([one.threshold for one in tuned])
        before = _over([one.before[split] for one in tuned])
        rows.append(
            [(tuned[0].name, "name"), where, before, _over([one.after[split] for one in tuned])]
        )
    means = [
        _over([float(np.mean([getattr(one, when)[split] for one in m])) for m in found.members])
        for when in ("before", "after")
    ]
    rows.append(["mean", "", *means])
    head = ["", "threshold", f"{split} at {found.default:g}", f"{split} tuned"]
    console.say_table(head, rows, right=[1, 2, 3], indent=2)
    if count > SHOWN_LABELS:
        console.say(f"  the first {SHOWN_LABELS} of {count} labels (--json has all)", "dim")


def _over(values: list[float]) -> str:
    from nnexp.stats import describe

    return console.spread(describe(values))


def _threshold(x: float) -> str:
    """As `nnexp predict --threshold` takes it; nearly 1 with two digits after the nines."""
    if not 0.9995 < x < 1:
        return console.value(x)
    return f"{x:.{1 - math.floor(math.log10(1 - x))}f}"


def _gain(found: Any) -> None:
    if found.gain is None:
        console.say("There is no test split, so what the threshold is worth can't be told.", "dim")
        return
    mean, bounds = found.gain["mean"], found.gain["interval"]
    told = f"test {found.metric} changes by {mean:+.4f}"
    if bounds is None:
        console.say(f"{told}.", "bold")
        return
    over = "members" if len(found.members) > 1 else "test examples"
    told += f" (95 % interval over {over} {bounds[0]:+.4f} to {bounds[1]:+.4f})"
    if bounds[0] > 0:
        console.say(f"The tuned threshold is better: {told}.", "good")
    elif bounds[1] < 0:
        console.say(f"The tuned threshold is worse: {told}.", "bad")
    else:
        console.say(f"No gain is shown: {told}.", "bold")


def _use(found: Any) -> None:
    """What to do with it: the run itself stays as it is."""
    if all(one.threshold == found.default for member in found.members for one in member):
        console.say(f"On dev nothing is better than {found.default:g}, which the run has anyway.")
    elif found.options:
        command = ["nnexp", "predict", str(found.path), "FILE", *found.options]
        console.say("To decide so on new data (the run itself, eval and compare stay at 0.5):")
        console.say_path(Path("  " + shlex.join(command)), "name")
    elif found.is_group:
        console.say(
            "Each member has a threshold of its own. Take one member, such as s0; or make one "
            "model of all with nnexp ensemble, and tune that."
        )
    else:
        console.say("The scores are no probabilities, and nnexp predict does not show them.")


def _points(tuned: Any) -> None:
    """The area under the precision–recall curve by split, and points of the curve."""
    from nnexp.analysis.precision_recall import Curve, average_interval

    console.say()
    rows: list[list[Cell]] = []
    for split, part in tuned.parts.items():
        average = console.value(Curve.of(part).average_precision)
        bounds, share = average_interval(part), float(part.target.mean())
        rows.append([(split, "name"), average, console.interval(bounds), console.value(share)])
    head = ["", "average precision", "95 % interval", f"chance (share of {tuned.name})"]
    console.say_table(head, rows, right=[1, 2, 3], indent=2)
    console.say()
    console.say("precision and recall at other thresholds, by recall on dev", "bold")
    points = tuned.points()
    names = [name for name in points[0] if name != "threshold"]
    rows = [
        [_threshold(point["threshold"]), *(console.value(point[name]) for name in names)]
        for point in points
    ]
    console.say_table(["threshold", *names], rows, right=range(len(names) + 1), indent=2)
