"""A model from elsewhere beside a run: its CSV file in every form, and what is wrong with one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss

from nnexp.analysis.comparing.compare import compare
from nnexp.analysis.comparing.elsewhere import read_elsewhere
from nnexp.analysis.results import read_result
from nnexp.cli.app import run as run_command
from nnexp.errors import DataError, RunError, UsageError

N = 40
RNG = np.random.default_rng(0)
TARGET = np.where(RNG.random(N) < 0.4, "yes", "no")
CHANCE = np.clip(np.where(TARGET == "yes", 0.7, 0.3) + RNG.normal(size=N) * 0.2, 0.01, 0.99)
GUESS = np.where(CHANCE > 0.5, "yes", "no")


def losses(chance: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -np.log(np.where(target == "yes", chance, 1 - chance))


def rows(names: Sequence[str] = ("dev", "test")) -> list[dict[str, Any]]:
    """What a run that says `yes` too often leaves."""
    own = np.clip(CHANCE + 0.2, 0.01, 0.99)
    each = zip(range(N), TARGET, np.where(own > 0.5, "yes", "no"), losses(own, TARGET), strict=True)
    return [
        {"split": names[i % 2], "id": i, "target": t, "prediction": g, "loss": x, "log_loss": x}
        for i, t, g, x in each
    ]


@pytest.fixture
def base(run: Callable[..., Path]) -> Path:
    """A run of two classes with half its examples in dev and half in test."""
    all_rows = rows()
    parts = {}
    for split in ("dev", "test"):
        mine = [row for row in all_rows if row["split"] == split]
        hits = float(np.mean([row["target"] == row["prediction"] for row in mine]))
        parts[split] = {"accuracy": hits, "log_loss": float(np.mean([r["loss"] for r in mine]))}
    path = run(
        "base",
        all_rows,
        dev=parts["dev"],
        test=parts["test"],
        higher_is_better={"accuracy": True, "log_loss": False},
    )
    stored = {"classes": ["no", "yes"], "target_names": ["answer"]}
    (path / "preprocessing.json").write_text(json.dumps(stored))
    return path


def write(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


IDS = list(range(N))
SPLIT = ["dev" if i % 2 == 0 else "test" for i in IDS]
ODDS = np.log(CHANCE / (1 - CHANCE))
FORMS: dict[str, dict[str, Sequence[Any]]] = {
    "names": {"id": IDS, "prediction": GUESS},
    "with targets": {"id": IDS, "target": TARGET, "prediction": GUESS},
    "with splits": {"split": SPLIT, "id": IDS, "target": TARGET, "prediction": GUESS},
    "probability": {"id": IDS, "probability": CHANCE},
    "by number": {"id": IDS, "probability_0": 1 - CHANCE, "probability_1": CHANCE},
    "by name": {"id": IDS, "probability_no": 1 - CHANCE, "probability_yes": CHANCE},
    "of predict": {"id": IDS, "prediction": GUESS, "p(no)": 1 - CHANCE, "p(yes)": CHANCE},
    "one output": {"id": IDS, "output_0": ODDS},
    "outputs": {"id": IDS, "output_0": -ODDS / 2, "output_1": ODDS / 2},
    "backwards": {"id": IDS[::-1], "prediction": GUESS[::-1]},
    "more": {"id": [*IDS, 1000], "prediction": [*GUESS, "no"], "comment": ["x"] * (N + 1)},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(base: Path, tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "forest.csv", FORMS[form])
    found = compare([base, path])
    test = np.arange(N) % 2 == 1
    accuracy = float((GUESS == TARGET)[test].mean())
    assert found.sides[1].metrics["test"]["accuracy"]["mean"] == pytest.approx(accuracy)
    own = read_result(base).value("test", "accuracy")
    (pair,) = found.pairs
    assert pair.evidence.difference == pytest.approx(accuracy - own)
    assert "McNemar" in pair.evidence.test
    assert "Train the run with --seeds, and compare the group with the file." in pair.sentence
    assert found.sides[1].name == "forest"
    assert any("from elsewhere" in text for text in found.warnings)
    if "p(yes)" in FORMS[form] or any("probability" in name for name in FORMS[form]):
        wanted = log_loss(TARGET[test] == "yes", CHANCE[test])
        assert found.sides[1].metrics["test"]["log_loss"]["mean"] == pytest.approx(wanted)


def test_either_side_may_be_from_elsewhere(base: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "forest.csv", FORMS["names"])
    there, back = compare([base, path]).pairs[0], compare([path, base]).pairs[0]
    assert back.evidence.difference == -there.evidence.difference
    assert back.evidence.p_value == there.evidence.p_value


def test_a_file_like_the_runs_own_makes_no_difference(base: Path) -> None:
    found = compare([base, base / "predictions.csv"])
    assert found.pairs[0].evidence.difference == 0.0
    assert [row.path for row in found.config] == ["model.name"]


def test_brier_is_that_of_scikit_learn(base: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "forest.csv", FORMS["probability"])
    rows = read_elsewhere(path, read_result(base)).predictions("dev")
    dev = np.arange(N) % 2 == 0
    wanted = brier_score_loss(TARGET[dev] == "yes", CHANCE[dev])
    assert rows.numbers("brier").mean() == pytest.approx(wanted)


def test_values_and_labels(run: Callable[..., Path], tmp_path: Path) -> None:
    values = RNG.normal(size=20)
    answered = [{"split": "test", "id": f"a{i}", "target": v, "prediction": v + 0.5}
                for i, v in enumerate(values)]  # fmt: skip
    metrics = {"rmse": 0.5, "mae": 0.5}
    regression = run("reg", answered, metrics, task="regression", primary="rmse")
    (regression / "preprocessing.json").write_text(json.dumps({"target_names": ["price"]}))
    for name in ("prediction", "output", "output_0", "price"):
        path = write(
            tmp_path / "values.csv", {"id": [f"a{i}" for i in range(20)], name: values + 0.25}
        )
        found = compare([regression, path])
        assert found.sides[1].metrics["test"]["rmse"]["mean"] == pytest.approx(0.25)
        assert found.pairs[0].evidence.difference == pytest.approx(-0.25)

    labels = RNG.integers(0, 2, (20, 2))
    answered = [
        {"split": "test", "id": i, "target_0": a, "target_1": b, "prediction_0": a,
         "prediction_1": 1 - b} for i, (a, b) in enumerate(labels)
    ]  # fmt: skip
    tags = run("tags", answered, {"accuracy": 0.5}, task="multilabel")
    (tags / "preprocessing.json").write_text(json.dumps({"target_names": ["red", "big"]}))
    first, second = labels.T
    for columns in (
        {"prediction_0": first, "prediction_1": second},
        {"p(red)": first * 0.8 + 0.1, "p(big)": second * 0.8 + 0.1},
        {"output_0": first - 0.5, "output_1": second - 0.5},
    ):
        path = write(tmp_path / "labels.csv", {"id": range(20), **columns})
        assert compare([tags, path]).sides[1].metrics["test"]["accuracy"]["mean"] == 1.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": IDS, "prediction": GUESS}, "there is no column 'id' .*name, prediction"),
        ({"Id": IDS, "prediction": GUESS}, "should Id be called id?"),
        ({"id;prediction": IDS}, "are its columns separated by commas?"),
        ({"id": IDS, "id ": IDS}, "two columns have the same name"),
        ({"id": IDS}, "there should be prediction, probabilities of all classes, or outputs"),
        ({"id": IDS, "prediction": ["maybe"] * N}, "'maybe' is not one of the classes no, yes"),
        ({"id": IDS, "probability": ["high"] * N}, "'probability' should be numbers"),
        ({"id": IDS, "probability": [1.5] * N}, "not within 0 and 1"),
        ({"id": IDS, "p(no)": [0.9] * N, "p(yes)": [0.9] * N}, "of example 0 sum to 1.8"),
        ({"id": IDS, "prediction": [1] * N}, "'1' is not one of the .*; write their names"),
        (
            {"id": IDS, "target": TARGET[::-1], "prediction": GUESS},
            r"of 20 examples have another target than in .*, so the ids seem to be others",
        ),
        ({"id": IDS, "probability": [""] * N}, "probability of example 0 is not a number"),
        ({"id": IDS, "output_0": [float("nan")] * N}, "output of example 0 is not a number"),
        ({"id": [2] * N, "prediction": GUESS}, "the id 2 stands there twice"),
        ({"id": [f"z{i}" for i in IDS], "prediction": GUESS}, "none of its examples is one of"),
        ({"id": [], "prediction": []}, "none of its examples"),
        ({"id": IDS, "target_1": TARGET, "prediction": GUESS}, "should be called 'target'"),
        ({"id": IDS, "target": [7] * N, "prediction": GUESS}, "target '7' is not one of"),
        ({f"output_{k}": [0.0] * N for k in range(3)} | {"id": IDS}, "there should be prediction"),
    ],
)
def test_bad_files(
    base: Path, tmp_path: Path, columns: Mapping[str, Sequence[Any]], message: str
) -> None:
    path = write(tmp_path / "bad.csv", columns)
    with pytest.raises(DataError, match=message):
        compare([base, path])


def test_what_is_no_csv(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    for content, message in (
        (b"\xff\xfe\x00id", "is not UTF-8 text"),
        ("id,prediction\n7,böse\n".encode("latin-1"), "is not UTF-8 text"),
        (b'id,prediction\n7,"yes\n', "is not CSV"),
        (b"", "is empty: it should begin with a header"),
        (b"\n\n", "is empty"),
        (b"id,prediction\n7\n", "line 2 has 1 cell, and the header 2"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            compare([base, path])
    with pytest.raises(DataError, match="there is no file"):
        compare([base, tmp_path / "none.csv"])


def test_a_byte_order_mark_and_empty_lines_do_no_harm(base: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "forest.csv", FORMS["names"])
    path.write_text("\ufeff" + path.read_text() + "\n\n", encoding="utf-8")
    assert compare([base, path]).checks[3].same


def test_what_it_cannot_be_compared_with(
    base: Path, tmp_path: Path, group: Callable[..., Path]
) -> None:
    path = write(tmp_path / "forest.csv", FORMS["names"])
    with pytest.raises(UsageError, match="compare needs a run beside files"):
        compare([path, write(tmp_path / "other.csv", FORMS["names"])])
    several = group("several", [{"rows": rows()}] * 2, manifest={"varies": "split"})
    with pytest.raises(UsageError, match=r"each member of .* has test examples of its own"):
        compare([several, path])
    with pytest.raises(UsageError, match="compare takes either runs or groups"):
        compare([base, several, path])
    with pytest.raises(UsageError, match="not all runs have the metric 'loss'"):
        compare([base, path], metric="loss")


def test_the_loss_of_plain_cross_entropy_is_log_loss(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "forest.csv", FORMS["probability"])
    for smoothing in (0.0, 0.1):
        base = run(f"base{smoothing}", rows(), config={"loss": {"name": "cross_entropy",
                   "label_smoothing": smoothing}})  # fmt: skip
        (base / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]}))
        found = read_elsewhere(path, read_result(base)).part("test")
        if smoothing:
            assert "loss" not in found
        else:
            test = np.arange(N) % 2 == 1
            assert found["loss"] == pytest.approx(losses(CHANCE, TARGET)[test].mean())
    known = np.array([row["loss"] for row in rows()])[np.arange(N) % 2 == 1].mean()
    part = {"accuracy": 0.5, "loss": float(known)}
    data = {"source": "digits", "scale_target": "standardize"}
    base = run("whole", rows(), part, config={"data": data})
    (base / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    (pair,) = compare([base, path], metric="loss").pairs
    assert pair.evidence.difference == pytest.approx(found_loss() - known)
    assert pair.rows[-1].difference == pytest.approx(found_loss() - known)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", "f4"), ("float64", "f8")])
def test_a_certain_mistake_counts_as_in_the_run(
    run: Callable[..., Path], tmp_path: Path, precision: str, dtype: str
) -> None:
    """As the metric has it, and scikit-learn for probabilities of that type."""
    sure = np.where(TARGET == "yes", 1.0, 0.0)
    sure[1] = 1.0 - sure[1]
    path = write(tmp_path / "sure.csv", {"id": IDS, "probability": sure})
    base = run("base", rows(), config={"training": {"precision": precision}})
    (base / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    test = np.arange(N) % 2 == 1
    found = read_elsewhere(path, read_result(base)).part("test")["loss"]
    assert found == pytest.approx(log_loss(TARGET[test] == "yes", sure[test].astype(dtype)))


def found_loss() -> float:
    return float(losses(CHANCE, TARGET)[np.arange(N) % 2 == 1].mean())


MEMBERS = 4


@pytest.fixture
def several(group: Callable[..., Path]) -> tuple[Path, np.ndarray]:
    """A group over seeds, and which of its answers are right, `[members, test examples]`."""
    rng, members, right = np.random.default_rng(1), [], []
    for _ in range(MEMBERS):
        all_rows = rows()
        hits = np.where(CHANCE > 0.3, rng.random(N) < 0.7, rng.random(N) < 0.9)
        for row, hit in zip(all_rows, hits, strict=True):
            row["prediction"] = row["target"] if hit else "no" if row["target"] == "yes" else "yes"
        part = {"accuracy": float(hits[1::2].mean())}
        right.append(hits[1::2].astype(float))
        members.append({"rows": all_rows, "test": part, "dev": {}})
    path = group("several", members)
    for home in path.glob("s?"):
        (home / "preprocessing.json").write_text(json.dumps({"classes": ["no", "yes"]}))
    return path, np.array(right)


def test_a_group_against_one_model(
    several: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, right = several
    forest = write(tmp_path / "forest.csv", FORMS["names"])
    found = compare([path, forest])
    (pair,) = found.pairs
    d = (GUESS == TARGET)[1::2].astype(float) - right
    n, m = d.shape
    seed, example = d.mean(1).var(ddof=1) / n, d.mean(0).var(ddof=1) / m
    residual = d - d.mean(1, keepdims=True) - d.mean(0) + d.mean()
    interaction = (residual**2).sum() / ((n - 1) * (m - 1)) / (n * m)
    variance = seed + example - interaction
    assert variance > max(seed, example)
    parts = [(seed, n - 1), (example, m - 1), (interaction, (n - 1) * (m - 1))]
    df = variance**2 / sum(part**2 / free for part, free in parts)
    assert pair.evidence.difference == pytest.approx(d.mean())
    assert "two-way" in pair.evidence.test
    half = float(stats.t.ppf(0.975, df)) * np.sqrt(variance)
    assert pair.evidence.interval == pytest.approx((d.mean() - half, d.mean() + half))
    over_seeds, these = pair.beside
    assert over_seeds.p_value == pytest.approx(stats.ttest_1samp(d.mean(1), 0.0).pvalue)
    drawn = np.random.default_rng(5).integers(0, m, (4000, m))
    low = stats.norm.cdf(np.sqrt(m / (m - 1)) * stats.t.ppf(0.025, m - 1))  # Hesterberg's
    wanted = tuple(np.quantile(d.mean(0)[drawn].mean(1), [low, 1 - low]))
    assert these.interval == pytest.approx(wanted, abs=0.02)
    assert "this one model from elsewhere" in pair.sentence
    assert pair.members_needed is None
    back = compare([forest, path], margin=0.5).pairs[0]
    assert back.evidence.difference == -pair.evidence.difference
    assert back.evidence.p_value == pytest.approx(pair.evidence.p_value)
    assert run_command(["compare", str(path), str(forest)]) == 0
    assert "of the members' mean" in capsys.readouterr().out


def test_a_file_with_some_of_the_examples(several: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, right = several
    some = {name: column[: N // 2] for name, column in FORMS["names"].items()}
    (pair,) = compare([path, write(tmp_path / "forest.csv", some)]).pairs
    d = ((GUESS == TARGET)[1::2].astype(float) - right)[:, : N // 4]
    assert pair.evidence.difference == pytest.approx(d.mean())
    assert [other.difference for other in pair.beside] == pytest.approx([d.mean()] * 2)
    assert f"over the {N // 4} examples in both" in pair.sentence


def test_a_group_of_which_one_is_left(several: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, _ = several
    for home in sorted(path.glob("s?"))[1:]:
        summary = json.loads((home / "summary.json").read_text())
        summary["test"] = {"accuracy": None}
        (home / "summary.json").write_text(json.dumps(summary))
    (pair,) = compare([path, write(tmp_path / "forest.csv", FORMS["names"])]).pairs
    assert pair.evidence.scope == "these models"
    assert pair.evidence.interval is not None


def test_a_run_that_diverged_without_an_answer(
    several: tuple[Path, np.ndarray], tmp_path: Path, base: Path
) -> None:
    path, forest = several[0], write(tmp_path / "forest.csv", FORMS["names"])
    for home in (path / "s0", base):
        (home / "predictions.csv").write_text("")
        manifest = json.loads((home / "manifest.json").read_text()) | {"status": "diverged"}
        (home / "manifest.json").write_text(json.dumps(manifest))
    summary = json.loads((path / "s0" / "summary.json").read_text()) | {"test": {"accuracy": None}}
    (path / "s0" / "summary.json").write_text(json.dumps(summary))
    found = compare([path, forest])
    assert found.sides[0].counted == MEMBERS - 1
    assert "1 of A's 4 members diverged" in found.warnings[0]
    with pytest.raises(RunError, match="diverged and left no predictions"):
        compare([base, forest])


def test_ids_and_names_may_be_written_otherwise(base: Path, tmp_path: Path) -> None:
    columns = {" id": [f"{i}.0" for i in IDS], "prediction ": GUESS}
    found = compare([base, write(tmp_path / "forest.csv", columns)])
    assert found.checks[3].same


def test_the_command(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "forest.csv", FORMS["probability"])
    assert run_command(["compare", str(base), str(path)]) == 0
    shown = capsys.readouterr().out
    assert "elsewhere" in shown
    assert "forest" in shown
    assert run_command(["compare", str(base), str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][1]["path"] == str(path)
    assert run_command(["compare", str(base), str(path), "--metric", "time_to(dev/loss < 1)"]) == 3
