"""Whether the data are what they should be. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nnexp.checks.columns import correlated, counting, giveaways, repeated
from nnexp.checks.verdict import Judgement, Verdict, judged
from nnexp.components.preprocessing.columns import shown
from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.data.prepare import Prepared
from nnexp.data.suspicions import evenly

ROWS = 20_000
"""Most training examples that are looked at, evenly spaced."""
NUMBERS = 20_000_000
"""About as many numbers are read for that."""
COLUMNS = 500
"""Most columns of numbers that are compared with each other and with the target."""

_RARE = 5
_UNEVEN = 20.0
_SURE = 0.99
_BEFORE_PCA = 10.0
_ENOUGH = 20  # fewer examples correlate by chance


def check_data(
    experiment: Experiment, table: Table, prepared: Prepared, effort: float = 1.0
) -> list[Verdict]:
    """A verdict on each property of an experiment's data but the split; they are only read.

    experiment: resolved; prepared: its table, split and preprocessed. effort: the share of large
    data's examples and columns that are looked at, of those that `nnexp check` looks at.
    """
    width = max(100, int(effort * COLUMNS))
    most = max(200, int(effort * min(ROWS, NUMBERS // max(table.features.width, 1))))
    train = evenly(prepared.parts["train"], most)
    reads = bool(table.sequences) or table.task == "words"
    found: list[Verdict] = []
    if not (table.features.is_image or reads or table.task == "dense"):
        found += _columns(table, train, width)
    if not (reads or table.task == "dense"):
        found.append(_giveaway(table, prepared, train, width))
    found += _balance(experiment, prepared)
    found += _before_pca(table, prepared, train)
    if not reads:
        found.append(_input_scale(prepared))
    if table.task == "regression":
        found.append(_target_scale(prepared))
    return found


# -- columns ---------------------------------------------------------------------------------------


def _columns(table: Table, rows: np.ndarray, width: int) -> Iterator[Verdict]:
    features = table.features.rows(rows)
    numbers, texts = features.flat(), features.categorical
    names = [*features.names, *features.categorical_names]
    yield _missing(numbers, texts, names)
    yield _constant(numbers, texts, names)
    few = numbers[:, :width]
    same = repeated(few, texts, [*features.names[:width], *features.categorical_names])
    yield judged(
        "duplicated columns",
        shown([f"{a} = {b}" for a, b in same]) if same else "none",
        look=bool(same),
        advice="drop one of each pair: it adds weights, and nothing to learn from",
    )
    told = correlated(few, names) if len(rows) >= _ENOUGH else []
    near = [pair for pair in told if pair[:2] not in same]
    yield judged(
        "correlated columns",
        shown([f"{a} and {b} ({r:.4f})" for a, b, r in near]) if near else "none above 0.999",
        look=bool(near),
        advice="drop one of each pair, or use `pca`: their weights can't be told apart",
    )
    counts = [features.names[at] for at in counting(few, rows)]
    yield judged(
        "row numbers",
        f"{shown(counts)}: rises by the same from row to row" if counts else "none",
        look=bool(counts),
        advice="a number that only says where a row stands tells nothing of new ones: name it as "
        "`data.source.id`, or leave it out (`data.source.drop`)",
    )


def _missing(numbers: np.ndarray, texts: np.ndarray, names: Sequence[str]) -> Verdict:
    shares = [*np.isnan(numbers).mean(0), *(texts == None).mean(0)]  # noqa: E711
    by_name = {name: share for name, share in zip(names, shares, strict=True) if share}
    most = [name for name, share in by_name.items() if share > 0.5]
    return judged(
        "missing values",
        shown([f"{share:.1%} of {name}" for name, share in by_name.items()]) if by_name else "none",
        look=bool(most),
        fail=any(share == 1.0 for share in by_name.values()),
        advice=f"{shown(most)}: hardly anything is there; drop it (`data.source.drop`), or see "
        "whether the file was read as it was meant",
    )


def _constant(numbers: np.ndarray, texts: np.ndarray, names: Sequence[str]) -> Verdict:
    same = [len(np.unique(column[~np.isnan(column)])) < 2 for column in numbers.T]
    same += [len(set(column.tolist())) < 2 for column in texts.T]
    found = [name for name, is_constant in zip(names, same, strict=True) if is_constant]
    return judged(
        "constant columns",
        f"{shown(found)} ({len(found)} of {len(names)})" if found else "none",
        look=bool(found),
        fail=bool(names) and len(found) == len(names),
        advice="drop them, or see whether the file was read as it was meant",
    )


def _giveaway(table: Table, prepared: Prepared, rows: np.ndarray, width: int) -> Verdict:
    some = evenly(rows, 5000)
    features = table.features.rows(some)
    width = min(features.width, width)
    names = [*features.labels[:width], *features.categorical_names]
    found = []
    if len(names) > 1:  # a single column is all that there is to learn from
        targets = prepared.original[some].reshape(len(some), -1)
        numbers = features.flat()[:, :width]
        found = giveaways(numbers, features.categorical, targets, table.task != "regression")
    sure = [names[place] for place, share in found if share >= _SURE]
    near = [f"{names[place]} ({share:.1%})" for place, share in found]
    return judged(
        "target in a column",
        f"told by {shown(near)} alone" if found else "no column tells it alone",
        look=bool(found),
        fail=bool(sure),
        advice="will you know it when you predict? If not, leave it out (`data.source.drop`)",
    )


# -- targets and inputs ----------------------------------------------------------------------------


def _balance(experiment: Experiment, prepared: Prepared) -> Iterator[Verdict]:
    counts, classes = prepared.pipeline.class_counts, prepared.classes
    if counts is None or classes is None or experiment.task == "words":
        return
    seen = np.array(counts)
    absent = [classes[i] for i in np.flatnonzero(seen == 0)]
    rare = [f"{classes[i]} ({seen[i]})" for i in np.flatnonzero((seen > 0) & (seen < _RARE))]
    uneven = seen.max() / max(seen[seen > 0].min(), 1)
    weighed = experiment.loss is not None and experiment.loss.class_weights is not None
    text = f"from {seen.min():,} to {seen.max():,} examples a class in training"
    if absent or rare:
        text += f"; {'none' if absent else 'few'} of {shown(absent or rare)}"
    many = experiment.task == "dense" or bool(prepared.pipeline.codes and len(classes) > 20)
    yield judged(
        "class balance",
        text,
        look=not many and (bool(absent or rare) or (uneven > _UNEVEN and not weighed)),
        fail=not many and bool(absent) and len(absent) >= len(classes) - 1,
        advice="split by class (`split: {stratify: true}`), collect more of the rare classes, or "
        "weigh them (`loss.class_weights: balanced`); judge by balanced_accuracy",
    )


def _before_pca(table: Table, prepared: Prepared, rows: np.ndarray) -> Iterator[Verdict]:
    """Whether the columns have one scale where `pca` looks for the directions of most variance."""
    if table.features.is_image or all(s.component != "pca" for s in prepared.pipeline.steps):
        return
    rows = evenly(rows, 2000)
    features = table.features.rows(rows)
    for step, state in prepared.pipeline.fitted:
        if step.component == "pca":
            seen = step.view(features)
            variances = seen.flat().var(0)
            varies = np.where(variances > 0, variances, np.nan)
            apart = float(np.nanmax(varies) / np.nanmin(varies))
            most, least = (seen.names[int(place(varies))] for place in (np.nanargmax, np.nanargmin))
            yield judged(
                "scale before pca",
                f"columns' variances differ {apart:.3g}-fold, from {least} to {most}",
                look=apart > _BEFORE_PCA,
                advice=f"its first directions are little but {most}: put `standardize` before it, "
                "unless all columns have one unit",
            )
        features = step.apply(features, state)


def _input_scale(prepared: Prepared) -> Verdict:
    rows = evenly(prepared.parts["train"], 2000)
    x = np.asarray(prepared.gather(rows), np.float64).reshape(len(rows), -1)
    if prepared.pipeline.codes:
        x = x[:, np.array(prepared.pipeline.codes) == 0]
    if not x.shape[1]:
        return Verdict("input scale", "pass", "codes only, which an embedding takes")
    size, spread = np.sqrt(np.square(x).mean(0)), x.std(0)
    varies = spread[spread > 0]
    apart = (
        float(varies.max() / varies.min())
        if len(varies) and len(prepared.input_shape) == 1
        else 1.0
    )
    text = f"root mean square up to {size.max():.3g}"
    if len(prepared.input_shape) == 1:
        text += f"; columns' deviations differ {apart:.3g}-fold"
    return judged(
        "input scale",
        text,
        look=bool(size.max() > 20) or apart > 1000,
        fail=bool(size.max() > 1000),
        advice="bring the inputs to one scale: add `standardize` (or `min_max`) to `preprocessing`",
    )


def _target_scale(prepared: Prepared) -> Verdict:
    train = np.asarray(prepared.targets[prepared.parts["train"]], np.float64)
    size, spread = float(np.sqrt(np.square(train).mean())), train.std(0)
    name, text = "target scale", f"root mean square {size:.3g}, deviation "
    text += shown([f"{s:.3g}" for s in spread])
    if (spread == 0).any():
        which = shown([prepared.pipeline.target_names[i] for i in np.flatnonzero(spread == 0)])
        judgement: Judgement = "fail" if (spread == 0).all() else "look"
        return Verdict(name, judgement, text, f"{which} is constant: there is nothing to learn")
    return judged(
        name,
        text,
        look=size > 20 or bool((spread < 1e-3).any()),
        fail=size > 1000,
        advice="`data.scale_target: true` learns the standardized target",
    )
