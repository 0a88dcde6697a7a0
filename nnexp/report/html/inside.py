"""The part of a report that is about what a network has learnt: filters, a plane, words.

Nothing here needs matplotlib; only the answers over a plane take torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from nnexp.analysis.results import Result
from nnexp.analysis.words.vectors import vectors_of
from nnexp.errors import DataError, NnexpError, UsageError, count
from nnexp.report.figures.words import main_directions
from nnexp.report.html import evidence, pixels
from nnexp.report.html.markup import Html, card, tag
from nnexp.report.html.svg import Chart, legend, scale_of
from nnexp.report.sweep_table import Axis
from nnexp.runs.inside import around, first_filters, plane, plane_points
from nnexp.runs.rundir import RunDir
from nnexp.stats import FloatArray

FILTERS = 144
WORDS = 150
"""The most frequent ones are on the map."""
_GRID = 120
_EXAMPLES = 800
"""Of a plane: points a side, and examples that are drawn."""
_BORDERS = 20
"""Members whose boundaries are drawn."""

# As --s0 … in the page, but the same in light and dark: pixels can't follow.
_COLOURS = (
    (30, 128, 200), (222, 104, 20), (20, 166, 124), (204, 110, 165), (212, 150, 20),
    (80, 170, 220), (130, 130, 130),
)  # fmt: skip


def inside(name: str, result: Result) -> Iterator[Html]:
    """The pictures that there are for runs of this kind. name: goes before the titles."""
    usable = result.alive
    if not usable:
        return
    member = f" ({usable[0].path.name})" if result.members else ""
    before = f"{name}: " if name else ""
    for title, draw, of in (
        (f"{before}first layer{member}", _filters, usable[0]),
        (f"{before}decision boundary", _plane, result),
        (f"{before}map of words{member}", _words, usable[0]),
    ):
        try:
            drawn = draw(of, title)
        except UsageError:  # a run of another kind
            continue
        except NnexpError as error:
            drawn = card(title, tag("p", f"can't be drawn: {error}", class_="sub"))
        yield drawn


# -- filters ---------------------------------------------------------------------------------------


def _filters(run: Result, title: str) -> Html:
    if len(evidence.stored(run).get("shape") or ()) != 3:
        raise UsageError("takes no images")
    weights = first_filters(RunDir(run.path))
    total, channels = weights.shape[:2]
    if channels not in (1, 3):  # a row a filter
        most = max(FILTERS // channels, 1) * channels
        return filters(weights.reshape(-1, 1, *weights.shape[2:])[:most], channels, total, title)
    weights = weights[:FILTERS]
    return filters(weights, _across(len(weights)), total, title)


def _across(tiles: int) -> int:
    """Tiles in a row: about half as many again as rows, with the fewest gaps in the last one."""
    about = math.sqrt(1.6 * tiles)
    return min(
        range(math.ceil(0.75 * about), math.ceil(1.4 * about) + 1),
        key=lambda columns: (-tiles % columns, abs(columns - about)),
    )


def filters(weights: FloatArray, across: int, total: int, title: str) -> Html:
    """Small images `[F, C, H, W]` beside each other, see `pixels.tiles`. total: filters in all."""
    drawn = pixels.tiles(weights, across)
    image = tag(
        "img",
        src=pixels.data_uri(drawn),
        alt=f"weights of {count(len(weights), 'filter')} as small images",
        width=str(drawn.shape[1]),
        height=str(drawn.shape[0]),
        class_="pixels",
    )
    told = f"{len(weights)} of {total}" if len(weights) < total else f"{total}"
    note = f"weights of {told} units by pixel, one scale; the stronger a colour, the larger"
    if weights.shape[1] == 3:
        return card(title, image, note=f"weights of {told} units by pixel; grey is 0")
    ends = [
        (f"--c:rgb{_text(pixels.POSITIVE)}", "positive"),
        (f"--c:rgb{_text(pixels.NEGATIVE)}", "negative"),
    ]
    return card(title, image, legend(ends), note=note)


def _text(colour: Sequence[int]) -> str:
    return f"({','.join(map(str, colour))})"


# -- a plane ---------------------------------------------------------------------------------------


def _plane(result: Result, title: str) -> Html:
    if tuple(evidence.stored(result.runs[0]).get("shape") or ()) != (2,):
        raise UsageError("takes other than two numbers")
    try:
        points, targets, names, classes = plane_points(result.path, "train", None)
    except DataError as error:
        raise DataError(f"the examples are not there: {error}") from None
    x, y, answers = plane(result.path, around(points), _GRID)
    few = np.unique(np.linspace(0, len(points) - 1, min(_EXAMPLES, len(points))).astype(np.int64))
    if classes is None:
        return values_over(x, y, answers, points[few], targets[few], names, title)
    return classes_over(x, y, answers, points[few], targets[few], names, classes, title)


def classes_over(
    x: FloatArray,
    y: FloatArray,
    answers: FloatArray,
    points: FloatArray,
    targets: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    title: str,
) -> Html:
    """The class that models say over a plane, where it changes, and examples.

    answers: `[M, H, W, K]`, probabilities of classes at x `[W]` and y `[H]`. points: `[N, 2]`,
    targets: their classes `[N]`.
    """
    mean = answers.mean(axis=0)
    chart = _axes(x, y, names, pixels.shaded(mean, _COLOURS))
    if len(answers) > 1:
        for one in answers[:_BORDERS]:
            chart.segments(_borders(x, y, one), "border thin")
    chart.segments(_borders(x, y, mean), "border")
    for (a, b), target in zip(points.tolist(), targets.tolist(), strict=True):
        colour = _COLOURS[int(target) % len(_COLOURS)]
        look = f"--c:rgb{_text(colour)}"
        chart.dot(a, b, "point", 3, classes[int(target)], look)
    shown = [
        (f"--c:rgb{_text(_COLOURS[k % len(_COLOURS)])}", c) for k, c in enumerate(classes[:20])
    ]
    note = "colour: the class that is said, the stronger the surer; dots: training examples"
    if len(answers) > 1:
        note += f"; mean of {len(answers)} models, thin: the boundary of each"
    return card(title, chart.draw("answers over the plane"), legend(shown), note=note)


def values_over(
    x: FloatArray,
    y: FloatArray,
    answers: FloatArray,
    points: FloatArray,
    targets: np.ndarray,
    names: Sequence[str],
    title: str,
) -> Html:
    """The value that models say over a plane, and examples in the colours of theirs."""
    mean = answers[..., 0].mean(axis=0)
    low = min(float(mean.min()), float(targets.min()))
    high = max(float(mean.max()), float(targets.max()))
    room = (high - low) or 1.0
    chart = _axes(x, y, names, pixels.ramp((mean - low) / room))
    colours = pixels.ramp((np.asarray(targets, np.float64) - low) / room)[:, :3].tolist()
    for (a, b), target, colour in zip(points.tolist(), targets.tolist(), colours, strict=True):
        chart.dot(a, b, "point", 3, f"{target:.4g}", f"--c:rgb{_text(colour)}")
    steps = np.linspace(0.0, 1.0, 5)
    shown = [
        (f"--c:rgb{_text(colour)}", f"{low + share * room:.3g}")
        for share, colour in zip(steps, pixels.ramp(steps)[:, :3].tolist(), strict=True)
    ]
    several = f"; mean of {len(answers)} models" if len(answers) > 1 else ""
    note = f"colour: the value that is said, of dots (training examples) the true one{several}"
    return card(title, chart.draw("answers over the plane"), legend(shown), note=note)


def _axes(x: FloatArray, y: FloatArray, names: Sequence[str], painted: np.ndarray) -> Chart:
    """A chart with one pixel about each point of the grid."""
    box = (*_ends(x), *_ends(y))
    axes = Axis("", "linear", box[0], box[1]), Axis("", "linear", box[2], box[3])
    chart = Chart(*axes, (names[0], names[1]), 340.0)
    chart.image(pixels.data_uri(painted[::-1]), box)
    return chart


def _ends(grid: FloatArray) -> tuple[float, float]:
    half = float(grid[1] - grid[0]) / 2
    return float(grid[0]) - half, float(grid[-1]) + half


def _borders(x: FloatArray, y: FloatArray, values: FloatArray) -> Iterator[tuple[float, ...]]:
    """Where the class changes that has the highest of the values `[H, W, K]`."""
    for k in range(values.shape[-1] - 1):
        others = np.delete(values, k, axis=-1).max(axis=-1)
        yield from pixels.contour(x, y, values[..., k] - others)


# -- words -----------------------------------------------------------------------------------------


def _words(run: Result, title: str) -> Html:
    if run.summary.get("task") != "words":
        raise UsageError("has learnt no word vectors")
    vectors = vectors_of(run.path)
    names = vectors.words[:WORDS]
    if len(names) < 2:
        raise UsageError("a map needs two words")
    places, shares = main_directions(vectors.matrix[: len(names)])
    return words(places, names, shares, title)


def words(
    places: FloatArray, names: Sequence[str], shares: tuple[float, float], title: str
) -> Html:
    """Words at their places `[V, 2]`; those whose place is taken by earlier ones are a dot only."""
    labels = [f"direction {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares)]
    chart = Chart(
        scale_of(places[:, 0], log=False),
        scale_of(places[:, 1], log=False),
        (labels[0], labels[1]),
        560.0,
        width=860.0,
    )
    taken: list[tuple[float, float, float, float]] = []
    for (x, y), name in zip(places.tolist(), names, strict=True):
        chart.dot(x, y, "dot c0", 2.2, name)
        a, b = chart.across(x) + 4, chart.down(y) - 3
        box = (a, b - 11, a + 6.8 * len(name) + 2, b + 2)
        if box[2] > chart.width or any(
            box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken
        ):
            continue
        taken.append(box)
        chart.words(x, y, name, "halo")
    note = f"the {len(names)} most frequent words"
    whole = tag("div", chart.draw("words by their vectors"), class_="wide big", tabindex="0")
    return tag("div", card(title, whole, note=note), class_="span")
