"""A model from elsewhere: its predictions in a CSV file, as something to compare runs with.

A row an example: `id` as in the run's predictions.csv, and what the model says of it, in one of the
forms below; `target` if the file has it, else the run's; `split` if it has several.

    classes  `prediction`: the class's name; or a probability of each class: `p(NAME)`,
             `probability_NAME` or `probability_0`, …, or `probability`, the second's of two; or
             outputs, highest for the class predicted: `output_0`, …
    labels   `prediction_0`, … (0 or 1); or probabilities likewise; or outputs, above 0 for yes
    values   `prediction`, `prediction_0`, …, `output_0`, …, or the names of the targets
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnexp.analysis.comparing.findings import statistic_of
from nnexp.analysis.results import Predictions, Result
from nnexp.errors import DamagedRun, DataError, RunError, UsageError, count, nearest
from nnexp.runs.files import read_bytes
from nnexp.stats import FloatArray

SPLITS = ("dev", "test")
Columns = dict[str, tuple[str, ...]]


def read_elsewhere(path: Path, like: Result) -> Result:
    """The predictions in a file as a result beside a run, or a group, that was asked the same.

    Raises DataError for a file that can't be used, UsageError for a run that can't be compared so.
    """
    task = like.summary.get("task")
    if like.manifest.get("varies") == "split":
        raise UsageError(
            f"{path} is one model, and each member of {like.path} has test examples of its own: "
            f"compare it with one, such as {like.path / 's0'}"
        )
    if task not in ("classification", "multilabel", "regression"):
        raise UsageError(f"{path}: predictions from elsewhere can't be compared with a {task} run")
    asked = _asked(like)
    columns = _columns(path)
    found = {split: _part(path, columns, split, asked) for split in SPLITS if asked.part(split)}
    found = {split: rows for split, rows in found.items() if len(rows)}
    if not found:
        known = next((asked.predictions(s).ids[:3] for s in SPLITS if asked.part(s)), ())
        raise DataError(
            f"{path}: none of its examples is one of {like.path} (whose ids look like this: "
            f"{', '.join(known)})"
        )
    empty = next(iter(found.values())).take([])
    summary = {name: like.summary.get(name) for name in ("task", "primary", "higher_is_better")}
    parts = {split: _scores(rows, asked, split) for split, rows in found.items()}
    result = Result(
        path, "run", {"status": "finished", "elsewhere": True}, (), {False: {"": empty, **found}}
    )
    told = {"name": path.stem, "metrics": like.config.get("metrics")}
    if all("loss" in part for part in parts.values()):
        told |= {name: like.config.get(name) for name in ("loss", "data")}
    result.__dict__.update(summary={"status": "finished", **summary, **parts}, config=told)
    return result


def _asked(like: Result) -> Result:
    """A run itself; of a group a member that has answered. RunError if it diverged before."""
    answered = [run for run in like.runs if run.answered]
    if not answered:
        raise RunError(f"{like.path} diverged and left no predictions to hold a file against")
    return answered[0]


def _columns(path: Path) -> Columns:
    header, rows = _table(path)
    if len(set(header)) < len(header):
        raise DataError(f"{path}: two columns have the same name")
    if "id" not in header:
        there = ", ".join(header[:10]) + (", …" if len(header) > 10 else "")
        close = nearest("id", header) if len(header) > 1 else None
        hint = f"; should {close} be called id?" if close else ""
        hint = "; are its columns separated by commas?" if len(header) == 1 else hint
        raise DataError(f"{path}: there is no column 'id' (there are: {there}){hint}")
    cells = zip(*rows, strict=True) if rows else [()] * len(header)
    return dict(zip(header, cells, strict=True))


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows, all of one length; empty lines don't count."""
    try:
        text = read_bytes(path.parent, path.name).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, row) for row in reader if row]
    except DamagedRun as error:
        raise DataError(str(error)) from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text (in a spreadsheet: save as CSV UTF-8)") from None
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}") from None
    if not lines:
        raise DataError(f"{path} is empty: it should begin with a header (id, prediction, …)")
    header = [name.strip() for name in lines[0][1]]
    for number, row in lines[1:]:
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {number} has {count(len(row), 'cell')}, and the header {len(header)}"
            )
    return header, [row for _, row in lines[1:]]


def _part(path: Path, columns: Columns, split: str, like: Result) -> Predictions:
    """The rows of a split as predictions.csv would have them."""
    known = like.predictions(split)
    every = [_known_id(one, known) for one in columns["id"]]
    rows = list(range(len(every)))
    if "split" in columns:
        rows = [row for row in rows if columns["split"][row] == split]
    has_target = any(name.partition("_")[0] == "target" for name in columns)
    if not (has_target and "split" in columns):
        rows = [row for row in rows if every[row] in known.rows]
    ids = [every[row] for row in rows]
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise DataError(f"{path}: the id {twice} stands there twice")
    given = Predictions(path, {name: tuple(c[r] for r in rows) for name, c in columns.items()})
    given = Predictions(path, {**given.columns, "id": tuple(ids)})
    if not has_target:
        own = known.take([known.rows[one] for one in ids])
        target = {n: c for n, c in own.columns.items() if n.partition("_")[0] == "target"}
    else:
        target = {n: c for n, c in given.columns.items() if n.partition("_")[0] == "target"}
    if not rows:
        return Predictions(path, {"id": ()})
    try:
        told = _answers(given, like, target)
    except DamagedRun as error:
        raise DataError(str(error)) from None
    found = Predictions(path, {"id": tuple(ids), **target, **told})
    _check_targets(found, known, like)
    return found


def _check_targets(found: Predictions, known: Predictions, like: Result) -> None:
    """DataError if an example has another target than in the run: its id means something else."""
    common = [one for one in found.ids if one in known.rows]
    if not set(found.columns) & set(known.columns) & {"target", "target_0"}:
        return
    ours, theirs = (p.take([p.rows[one] for one in common]) for p in (found, known))
    if ours.agrees(theirs):
        return
    other = [k for k in range(len(common)) if not ours.take([k]).agrees(theirs.take([k]))]
    raise DataError(
        f"{found.path}: {len(other)} of {count(len(common), 'example')} have another target than "
        f"in {like.path} (the first: {common[other[0]]}), so the ids seem to be others"
    )


def _known_id(one: str, known: Predictions) -> str:
    """An id as the run has it; whole numbers may have been written as `1.0`."""
    if one not in known.rows and one.endswith(".0") and one[:-2] in known.rows:
        return one[:-2]
    return one


def _answers(given: Predictions, like: Result, target: Columns) -> Columns:
    """`prediction`, or one a label or value; of probabilities also what log_loss and brier are."""
    task = like.summary.get("task")
    if task == "classification":
        also = ("loss",) if _is_log_loss(like) else ()
        classes = [str(x) for x in like.stored.get("classes") or ()]
        return _classes(given, classes, target, also, _least(like))
    names = [str(name) for name in like.stored.get("target_names") or ()]
    return (_labels if task == "multilabel" else _values)(given, names)


def _classes(
    given: Predictions, classes: Sequence[str], target: Columns, also: Sequence[str], least: float
) -> Columns:
    """also: further names of the log_loss. least: probabilities below it count as it there."""
    if "target" not in target:
        raise DataError(f"{given.path}: the column of targets should be called 'target'")
    truth = _named(given.path, "target", target["target"], classes)
    target["target"] = truth
    chances = _chances(given, classes)
    if chances is None and "prediction" in given.columns:
        guess = _named(given.path, "prediction", given.columns["prediction"], classes)
        return {"prediction": guess}
    scores = _numbers(given, "output") if chances is None else chances
    if scores is None or scores.shape[1] not in (1, len(classes)):
        raise _unanswered(given, "prediction, probabilities of all classes, or outputs")
    if scores.shape[1] == 1:  # one output, above 0 for the second class
        scores = np.hstack([np.zeros_like(scores), scores])
    best = [classes[k] for k in scores.argmax(axis=1)]
    told = {"prediction": tuple(best)}
    if "prediction" in given.columns:  # it may have been decided in another way
        told["prediction"] = _named(given.path, "prediction", given.columns["prediction"], classes)
    if chances is not None:
        _check_sums(given, chances)
        hot = np.array([[name == one for one in classes] for name in truth], dtype=np.float64)
        losses = -np.log(np.clip((hot * chances).sum(axis=1), least, 1.0))
        squares = ((chances - hot) ** 2).sum(axis=1) / (2 if len(classes) == 2 else 1)
        told |= dict.fromkeys(("log_loss", *also), _texts(losses)) | {"brier": _texts(squares)}
    return told


def _check_sums(given: Predictions, chances: FloatArray) -> None:
    """DataError if the classes' probabilities don't sum to 1, rounded to two places each."""
    wrong = np.flatnonzero(abs(chances.sum(axis=1) - 1.0) > 0.01 + 0.005 * chances.shape[1])
    if len(wrong):
        whole = chances[wrong[0]].sum()
        raise DataError(
            f"{given.path}: the probabilities of example {given.ids[wrong[0]]} sum to {whole:.4g}"
        )


def _least(like: Result) -> float:
    """What the run's own log_loss takes for 0: the rounding unit of its precision."""
    training = like.config.get("training")
    is_double = isinstance(training, Mapping) and training.get("precision") == "float64"
    return float(np.finfo(np.float64 if is_double else np.float32).eps)


def _is_log_loss(like: Result) -> bool:
    """Whether the run's loss is −log of the probability of the right class, and nothing else."""
    loss = like.config.get("loss")
    if not isinstance(loss, Mapping) or loss.get("class_weights") or loss.get("label_smoothing"):
        return False
    return loss.get("name") in ("cross_entropy", "binary_cross_entropy")


def _labels(given: Predictions, names: Sequence[str]) -> Columns:
    chances = _chances(given, names)
    if (guess := _numbers(given, "prediction")) is not None:
        if not np.isin(guess, (0, 1)).all():
            raise DataError(f"{given.path}: a label's prediction should be 0 or 1")
    elif chances is not None:
        guess = (chances > 0.5).astype(np.float64)
    elif (outputs := _numbers(given, "output")) is not None:
        guess = (outputs > 0).astype(np.float64)
    return _numbered(given, guess, names, "predictions, probabilities or outputs")


def _values(given: Predictions, names: Sequence[str]) -> Columns:
    guess = _numbers(given, "prediction")
    guess = _numbers(given, "output") if guess is None else guess
    if guess is None and all(name in given.columns for name in names):
        guess = np.hstack([_checked(given, name) for name in names])
    return _numbered(given, guess, names, "predictions or outputs")


def _numbered(
    given: Predictions, guess: FloatArray | None, names: Sequence[str], wanted: str
) -> Columns:
    if guess is None or guess.shape[1] != len(names):
        raise _unanswered(given, f"{wanted} of {', '.join(names)}")
    if len(names) == 1 and "target_0" not in given.columns:
        return {"prediction": _texts(guess[:, 0])}
    return {f"prediction_{k}": _texts(guess[:, k]) for k in range(len(names))}


def _chances(given: Predictions, names: Sequence[str]) -> FloatArray | None:
    """A probability of each class or label, `[N, C]`; None if there are none."""
    forms = [
        [f"p({name})" for name in names],
        [f"probability_{name}" for name in names],
        [f"probability_{k}" for k in range(len(names))],
    ]
    chances: FloatArray | None = None
    for form in forms:
        if all(name in given.columns for name in form):
            chances = np.hstack([_checked(given, name) for name in form])
            break
    else:
        if len(names) == 2 and "probability" in given.columns:
            second = _checked(given, "probability")
            chances = np.hstack([1.0 - second, second])
        elif len(names) == 1 and "probability" in given.columns:
            chances = _checked(given, "probability")
    if chances is not None and not ((chances >= 0) & (chances <= 1 + 1e-6)).all():
        raise DataError(f"{given.path}: a probability is not within 0 and 1")
    return chances


def _numbers(given: Predictions, column: str) -> FloatArray | None:
    """The column, or `column_0`, …, `[N, K]`; None if it is not there."""
    if column not in given.columns and f"{column}_0" not in given.columns:
        return None
    return _checked(given, column)


def _checked(given: Predictions, column: str) -> FloatArray:
    found = given.numbers(column)
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise DataError(f"{given.path}: {column} of example {given.ids[row]} is not a number")
    return found


def _named(
    path: Path, column: str, cells: Sequence[str], classes: Sequence[str]
) -> tuple[str, ...]:
    """Class names; whole numbers may have been written as `1.0`."""
    known = {name: name for name in classes}
    known |= {f"{name}.0": name for name in classes if f"{name}.0" not in known}
    for cell in cells:
        if cell not in known:
            shown = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
            hint = "; write their names" if cell.partition(".")[0].isdigit() else ""
            raise DataError(f"{path}: {column} {cell!r} is not one of the classes {shown}{hint}")
    return tuple(known[cell] for cell in cells)


def _unanswered(given: Predictions, wanted: str) -> DataError:
    there = ", ".join(list(given.columns)[:10])
    return DataError(f"{given.path}: there should be {wanted} (there are: {there})")


def _texts(values: FloatArray) -> tuple[str, ...]:
    return tuple(map(repr, values.tolist()))


def _scores(rows: Predictions, like: Result, split: str) -> dict[str, float]:
    """Those of the run's metrics that follow from the rows."""
    found: dict[str, float] = {}
    for metric in like.part(split):
        known = statistic_of(like, metric)
        if known is None:
            continue
        try:
            found[metric] = float(known.combine(known.moments(rows).mean(axis=0)))
        except DamagedRun:  # it needs what the file does not have
            continue
    return found
