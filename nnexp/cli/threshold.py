"""`nnexp threshold`: where to decide for a class or label, tuned on dev and judged on test."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

from nnexp.cli import console
from nnexp.cli.console import Cell
from nnexp.cli.results import AsJson, Run

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
    """Tune the decision threshold of two classes, or of each label, and show what it is worth.

    The threshold is chosen on dev; its score on test stands beside that of the run's own decisions
    (a probability of 0.5). Then come precision and recall at other thresholds. F1 is that of the
    class to find. Training is not touched.

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
    splits = list(first[0].before)
    head = ["", "threshold"]
    for split in splits:
        head += [f"{split} at {found.default:g}", f"{split} tuned"]
    rows = [_row(found, k, splits) for k in range(min(len(first), SHOWN_LABELS))]
    if len(first) > 1:
        rows.append(_row(found, None, splits))
    console.say_table(head, rows, right=range(1, len(head)), indent=2)
    if len(first) > SHOWN_LABELS:
        console.say(f"  the first {SHOWN_LABELS} of {len(first)} labels (--json has all)", "dim")
    _gain(found)
    if len(found.members) == 1 and len(first) == 1:
        _points(first[0])


def _row(found: Any, label: int | None, splits: list[str]) -> list[Cell]:
    """A label's threshold and scores over the members, or the mean over labels."""
    chosen = [tuned if label is None else [tuned[label]] for tuned in found.members]

    def over(values: list[float]) -> str:
        from nnexp.stats import describe

        return console.spread(describe(values))

    where: Cell = "" if label is None else over([tuned[0].threshold for tuned in chosen])
    row: list[Cell] = ["mean" if label is None else (chosen[0][0].name, "name"), where]
    for split in splits:
        row.append(over([float(np.mean([t.before[split] for t in tuned])) for tuned in chosen]))
        row.append(over([float(np.mean([t.after[split] for t in tuned])) for tuned in chosen]))
    return row


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


def _points(tuned: Any) -> None:
    console.say("precision and recall at other thresholds", "bold")
    points = tuned.points()
    names = list(points[0])
    rows: list[list[Cell]] = [[console.value(point[name]) for name in names] for point in points]
    console.say_table(names, rows, right=range(len(names)), indent=2)
