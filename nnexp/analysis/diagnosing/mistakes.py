"""Which examples a model gets most wrong, and what it takes for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnexp.analysis.diagnosing.remark import Grade, Remark, of_members, share, unknown
from nnexp.analysis.results import Predictions, Result
from nnexp.errors import NnexpError, count

WORST, CONFUSED = "worst examples", "confused classes"
SHOWN = 5
_PAIRS = 3
_FEW = 5
"""Mistakes from which something is called, not only "perhaps"."""


@dataclass(frozen=True)
class Example:
    """An example over the models that have it in the split.

    loss: mean. missed: how many models miss it, of `models`; None where nothing is right or wrong.
    """

    id: str
    loss: float
    target: str
    prediction: str
    missed: int | None
    models: int


def predictions_of(result: Result, split: str) -> list[Predictions]:
    """Those of the runs that kept some."""
    found = []
    for run in result.alive:
        try:
            rows = run.predictions(split)
        except NnexpError:  # a trial of a sweep keeps none
            continue
        if len(rows):
            found.append(rows)
    return found


def hardest(predictions: Sequence[Predictions], task: str) -> list[Example]:
    """All examples, that of the largest mean loss first."""
    losses: dict[str, list[float]] = {}
    said: dict[str, list[tuple[str, str]]] = {}
    for rows in predictions:
        pairs = _pairs(rows)
        for place, (name, loss) in enumerate(
            zip(rows.ids, rows.numbers("loss")[:, 0], strict=True)
        ):
            losses.setdefault(name, []).append(float(loss))
            if pairs:
                said.setdefault(name, []).append(pairs[place])
    named, found = task == "classification", []
    for name, values in losses.items():
        answers = said.get(name, [])
        missed = sum(target != guess for target, guess in answers) if named else None
        wrong = Counter(guess for target, guess in answers if target != guess)
        guess = wrong.most_common(1)[0][0] if wrong else answers[0][1] if answers else ""
        target = answers[0][0] if answers else ""
        found.append(Example(name, float(np.mean(values)), target, guess, missed, len(values)))
    return sorted(found, key=lambda one: -np.nan_to_num(one.loss, nan=np.inf))


def worst_examples(predictions: Sequence[Predictions], split: str, task: str) -> Remark:
    """The examples with the largest loss, and how much of the whole loss is theirs."""
    if not predictions:
        return unknown(WORST, f"There are no predictions on {split}.")
    found = hardest(predictions, task)
    total = sum(one.loss for one in found)
    few = found[: max(1, len(found) // 20)]
    part = sum(one.loss for one in few) / total if total > 0 else 0.0
    models = len(predictions)
    every = [one for one in found if one.missed == one.models == models > 1]
    text = (
        f"The worst 20th ({len(few)} of {count(len(found), 'example')}) has {share(part)} of the "
        f"{split} loss. Worst: {', '.join(map(_shown, found[:SHOWN]))}."
    )
    if every:
        text += f" Missed by all {models} models: {len(every)}."
    right = all(one.missed == 0 for one in found)
    concentrated = part >= 0.5 and not right
    advice = (
        ""
        if right
        else "Look at these by eye first: wrong labels are mended, what is left tells what the "
        "features lack."
        if concentrated or every
        else "No few examples stand out; look at a random sample of the mistakes."
    )
    numbers = {
        "share_of_worst_20th": part,
        "missed_by_all": [one.id for one in every],
        "examples": [vars(one) for one in found[:20]],
    }
    verdict = "few carry the loss" if concentrated else "spread over many"
    verdict = "none is mistaken" if right else verdict
    return Remark(WORST, verdict, "look" if concentrated else "good", text, advice, numbers=numbers)


def _shown(one: Example) -> str:
    told = f"{one.id} (loss {one.loss:.3g}"
    if one.target and one.prediction and one.target != one.prediction:
        told += f", {_short(one.target)} as {_short(one.prediction)}"
    if one.missed and one.models > 1:
        told += f", {of_members(one.missed, one.models)}"
    return f"{told})"


def _short(value: str) -> str:
    """A real number with four digits; a name as it is."""
    try:
        return f"{float(value):.4g}" if "." in value else value
    except ValueError:
        return value


def confused_classes(
    predictions: Sequence[Predictions],
    split: str,
    task: str,
    labels: Sequence[str] = (),
    weighed: bool = False,
) -> Remark | None:
    """The pairs of classes (or the labels, with their names) that most mistakes are about; None of
    other tasks. weighed: whether the loss weighs the classes already.
    """
    if task not in ("classification", "multilabel"):
        return None
    if not predictions:
        return unknown(CONFUSED, f"There are no predictions on {split}.")
    if task == "multilabel":
        return _missed_labels(predictions, split, labels)
    mistakes: Counter[tuple[str, str]] = Counter()
    sizes: Counter[str] = Counter()
    for rows in predictions:
        for target, guess in _pairs(rows):
            sizes[target] += 1
            if target != guess:
                mistakes[target, guess] += 1
    total, models = sum(mistakes.values()), len(predictions)
    if not total:
        return Remark(
            CONFUSED, "none", "good", f"No example of {split} is taken for another class."
        )
    most = mistakes.most_common(_PAIRS)
    told = [
        f"{target} as {guess} ({_mean(n, models)} of {_mean(sizes[target], models)})"
        for (target, guess), n in most
    ]
    both: Counter[tuple[str, str]] = Counter()
    for (target, guess), n in mistakes.items():
        both[min(target, guess), max(target, guess)] += n
    (one, other), n = both.most_common(1)[0]
    text = (
        f"{_mean(total, models)} of {_mean(sum(sizes.values()), models)} examples are mistaken"
        f"{' a model' if models > 1 else ''}; most often {', '.join(told)}."
    )
    numbers = {
        "mistakes": total / models,
        "pairs": [
            {"target": t, "prediction": p, "count": c / models, "share": c / total}
            for (t, p), c in mistakes.most_common(20)
        ],
    }
    # With two classes every mistake is about the same pair.
    if len(sizes) == 2:
        return _two_classes(mistakes, sizes, (text, models, weighed), numbers)
    if not _stands_out(n / models, total / models, len(sizes)):
        return Remark(CONFUSED, "no pair stands out", "good", text, "", numbers=numbers)
    few = n / models < _FEW
    advice = (
        f"Get more examples of {one} and {other}, or features that tell these two apart: they are "
        f"{share(n / total)} of the mistakes."
    )
    verdict = "perhaps " * few + f"{one} and {other}"
    return Remark(
        CONFUSED, verdict, "good" if few else "look", text, "" if few else advice, numbers=numbers
    )


def _stands_out(n: float, total: float, classes: int) -> bool:
    """Whether one pair of classes has more of the mistakes than chance would give the luckiest of
    all pairs, and at least a tenth.
    """
    from scipy.special import betainc

    pairs = classes * (classes - 1) / 2
    by_chance = float(betainc(n, total - n + 1, 1 / pairs))  # P(binomial ≥ n)
    return n >= 0.1 * total and pairs * by_chance < 0.05


def _two_classes(
    mistakes: Counter[tuple[str, str]],
    sizes: Counter[str],
    told: tuple[str, int, bool],
    numbers: dict[str, object],
) -> Remark:
    """Which of two classes is missed far more often than the other, for its size."""
    text, models, weighed = told
    missed = {name: sum(n for (t, _), n in mistakes.items() if t == name) for name in sizes}
    rates = {name: missed[name] / sizes[name] for name in sizes}
    worse, better = sorted(sizes, key=lambda name: -rates[name])
    numbers["missed"] = rates
    if rates[worse] < 2 * rates[better] or missed[worse] < _FEW * models:
        return Remark(CONFUSED, "neither stands out", "good", text, "", numbers=numbers)
    text += f" Of {worse} {share(rates[worse])} are missed, of {better} {share(rates[better])}."
    advice = "Move the decision threshold on dev (nnexp threshold)"
    if not weighed and sizes[better] > 1.5 * sizes[worse]:
        advice += ", or weigh the classes (loss.class_weights: balanced)"
    # As for one model's examples: members of a group miss the same ones.
    spread = sum(rates[name] * (1 - rates[name]) * models / sizes[name] for name in sizes)
    sure = rates[worse] - rates[better] > 1.96 * spread**0.5
    verdict = "perhaps " * (not sure) + f"{worse} is missed more"
    grade: Grade = "look" if sure else "good"
    return Remark(CONFUSED, verdict, grade, text, f"{advice}." if sure else "", numbers=numbers)


def _missed_labels(predictions: Sequence[Predictions], split: str, labels: Sequence[str]) -> Remark:
    """The labels that are most often wrong."""
    wrong = np.mean(
        [(p.numbers("target") != p.numbers("prediction")).mean(axis=0) for p in predictions], axis=0
    )
    order = np.argsort(-wrong, kind="stable")[:_PAIRS]
    names = list(labels) if len(labels) == len(wrong) else [f"label {k}" for k in range(len(wrong))]
    told = ", ".join(f"{names[k]} ({share(float(wrong[k]))})" for k in order)
    numbers = {"missed": dict(zip(names, wrong.tolist(), strict=True))}
    text = f"Most often wrong on {split}: {told}."
    stands_out = len(wrong) > 1 and wrong[order[0]] >= 2 * max(float(np.median(wrong)), 1e-12)
    if not stands_out:
        return Remark(CONFUSED, "no label stands out", "good", text, "", numbers=numbers)
    worst = names[order[0]]
    advice = f"Look at examples of {worst} and how they were labelled; get more of them."
    return Remark(CONFUSED, worst, "look", text, advice, numbers=numbers)


def _pairs(rows: Predictions) -> list[tuple[str, str]]:
    """Target and prediction of each row; [] where there are several columns of them, or none."""
    if "target" not in rows.columns or "prediction" not in rows.columns:
        return []
    return list(zip(rows.columns["target"], rows.columns["prediction"], strict=True))


def _mean(total: int, models: int) -> str:
    mean = total / models
    return f"{mean:,.0f}" if mean >= 1000 else f"{mean:.4g}"
