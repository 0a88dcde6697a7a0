"""Comparisons of small run directories, from their files to the words."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from nnexp.analysis.comparing.compare import compare, histories
from nnexp.errors import RunError, UsageError
from nnexp.stats import two_way

Write = Callable[..., Path]
RNG = np.random.default_rng(0)
LUCK = RNG.random(300)


def rows(correct: Any, **changes: Any) -> list[dict[str, Any]]:
    """Rows of predictions.csv for a classifier that is right where it says so."""
    table = []
    for i, right in enumerate(correct):
        target, other = ("cat", "dog") if i % 3 else ("dog", "cat")
        row: dict[str, Any] = {"split": "test", "id": f"e{i}", "target": target}
        row |= {"prediction": target if right else other, "loss": 0.1 if right else 2.0}
        table.append(row | changes)
    return table


def regression_rows(noise: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"split": "test", "id": i, "target": float(i), "prediction": i + e, "loss": e * e}
        for i, e in enumerate(noise)
    ]


def right(accuracy: float, seed: int) -> np.ndarray:
    """Which of 300 examples a model gets right; models agree mostly."""
    rng = np.random.default_rng(seed)
    return LUCK + rng.normal(0, 0.02, 300) + rng.normal(0, 0.005) < accuracy


def members(accuracy: float, first: int = 0, count: int = 8) -> list[dict[str, Any]]:
    return [{"rows": rows(right(accuracy, first + i))} for i in range(count)]


# -- two single runs -------------------------------------------------------------------------------


def test_two_runs_speak_of_two_models(run: Write) -> None:
    x, y = right(0.85, 1), right(0.95, 2)
    found = compare([run("a", rows(x)), run("b", rows(y))])
    (pair,) = found.pairs
    assert pair.evidence.scope == "these two models"
    assert "these two models, not of the two recipes" in pair.sentence
    assert pair.evidence.difference == pytest.approx(y.mean() - x.mean())
    only_x, only_y = int((x & ~y).sum()), int((y & ~x).sum())
    assert pair.evidence.p_value == pytest.approx(
        reference.binomtest(only_x, only_x + only_y).pvalue
    )
    assert pair.verdict == "better"
    assert pair.effect_size is None
    low, high = pair.evidence.interval or (0, 0)
    assert 0 < low < pair.evidence.difference < high


def test_examples_are_matched_by_id(run: Write) -> None:
    x, y = right(0.9, 1), right(0.9, 2)
    table = rows(y)
    shuffled = [table[i] for i in RNG.permutation(len(table))]
    expected = compare([run("a", rows(x)), run("b", table)]).pairs[0].evidence
    found = compare([run("c", rows(x)), run("d", shuffled)]).pairs[0].evidence
    assert found.p_value == expected.p_value
    assert found.difference == pytest.approx(expected.difference)


def test_lower_is_better_for_an_error(run: Write) -> None:
    paths = [run("a", rows(right(0.8, 1))), run("b", rows(right(0.95, 2)))]
    for metric, word in {"accuracy": "better", "error": "better", "loss": "better"}.items():
        assert compare(paths, metric).pairs[0].verdict == word
        assert compare(paths[::-1], metric).pairs[0].verdict == "worse"


def test_equal_models_are_not_tested(run: Write) -> None:
    first = run("a", rows(right(0.9, 1)))
    shutil.copytree(first, first.with_name("b"))
    (pair,) = compare([first, first.with_name("b")], margin=0.01).pairs
    assert pair.evidence.p_value is pair.evidence.interval is pair.p_equivalent is None
    assert pair.verdict == "no difference shown"
    assert "There is no variance: every test example says the same" in pair.sentence


def test_examples_in_common(run: Write) -> None:
    x, y = rows(right(0.9, 1)), rows(right(0.9, 2))
    found = compare([run("a", x), run("b", y[:200])])
    assert "over the 200 examples in both" in found.pairs[0].sentence
    assert found.checks[-1].same is False
    assert found.checks[-1].text == "200 in all, of 300, 200"
    others = [row | {"id": f"other{i}"} for i, row in enumerate(y)]
    (pair,) = compare([run("c", x), run("d", others)]).pairs
    assert "Only 0 of 300 examples are in both" in pair.sentence
    assert pair.evidence.test.startswith("unpaired shares")


def test_the_same_ids_with_other_targets_are_other_examples(run: Write) -> None:
    x = rows(right(0.9, 1))
    other = [row | {"target": "bird", "prediction": "bird"} for row in x]
    (pair,) = compare([run("a", x), run("b", other)]).pairs
    assert "ids agree but their targets don't" in pair.sentence
    assert pair.evidence.test.startswith("unpaired")


def test_other_data_are_told(run: Write) -> None:
    x, y = rows(right(0.9, 1)), rows(right(0.9, 2))
    paths = [run("a", x), run("b", y)]
    assert "different data" not in compare(paths).pairs[0].sentence
    manifest = json.loads((paths[1] / "manifest.json").read_text())
    manifest["data"]["fingerprint"] = "another"
    (paths[1] / "manifest.json").write_text(json.dumps(manifest))
    assert "A and B were trained and scored on different data" in compare(paths).pairs[0].sentence


def test_targets_may_differ_by_rounding(run: Write) -> None:
    noise = RNG.normal(size=(2, 50))
    paths = []
    for name, e in zip("ab", noise, strict=True):
        table = regression_rows(e)
        for row in table:
            row["target"] = row["target"] * (1 + 1e-7 * (name == "b"))
        scores = {"rmse": float(np.sqrt(np.mean(e**2)))}
        paths.append(run(name, table, scores, task="regression", primary="rmse"))
    assert compare(paths).pairs[0].evidence.test == "paired bootstrap over test examples"


def test_rmse_of_two_runs(run: Write) -> None:
    noise = RNG.normal(size=(2, 200)) * [[1.0], [2.0]]
    paths = [
        run(
            name,
            regression_rows(e),
            {"rmse": float(np.sqrt(np.mean(e**2)))},
            task="regression",
            primary="rmse",
        )
        for name, e in zip("ab", noise, strict=True)
    ]
    (pair,) = compare(paths).pairs
    assert pair.verdict == "worse"
    assert pair.evidence.difference == pytest.approx(
        math.sqrt(np.mean(noise[1] ** 2)) - math.sqrt(np.mean(noise[0] ** 2))
    )


def test_predictions_that_do_not_give_the_metric_are_not_used(run: Write) -> None:
    x = rows(right(0.9, 1))
    (pair,) = compare([run("a", x), run("b", x, {"accuracy": 0.5, "loss": 0.3})]).pairs
    assert "summary.json 0.5: the predictions are not used" in pair.sentence
    assert pair.evidence.interval is None
    assert pair.verdict == "no difference shown"


def test_a_metric_that_is_no_average_has_no_interval_for_runs(run: Write) -> None:
    x = rows(right(0.9, 1))
    directions = {"roc_auc": True}
    paths = [
        run(n, x, {"roc_auc": v}, higher_is_better=directions) for n, v in (("a", 0.8), ("b", 0.9))
    ]
    (pair,) = compare(paths, "roc_auc").pairs
    assert pair.evidence.difference == pytest.approx(0.1)
    assert pair.evidence.p_value is None
    assert "roc_auc is not an average over examples" in pair.sentence


# -- groups over seeds -----------------------------------------------------------------------------


def test_two_groups_speak_of_data_like_this(group: Write) -> None:
    paths = [group("a", members(0.85)), group("b", members(0.92, 50, 6))]
    (pair,) = compare(paths).pairs
    a = np.array([right(0.85, i) for i in range(8)], dtype=float)
    b = np.array([right(0.92, 50 + i) for i in range(6)], dtype=float)
    expected = two_way(a, b)
    assert pair.evidence.scope == "data like this"
    assert pair.evidence.interval == pytest.approx(expected.interval())
    assert pair.evidence.p_value == pytest.approx(expected.p_value)
    (beside,) = pair.beside
    welch = reference.ttest_ind(b.mean(axis=1), a.mean(axis=1), equal_var=False)
    assert beside.scope == "this split"
    assert beside.p_value == pytest.approx(welch.pvalue)
    assert pair.verdict == "better"
    assert "the training set is the same in all" in pair.sentence


def test_equivalence_needs_a_margin(group: Write) -> None:
    paths = [group("a", members(0.9)), group("b", members(0.9, 50))]
    assert compare(paths).pairs[0].verdict == "no difference shown"
    wide = compare(paths, margin=0.1).pairs[0]
    assert wide.verdict == "equivalent"
    assert "equivalent within the margin of 0.1" in wide.sentence
    narrow = compare(paths, margin=0.001).pairs[0]
    assert narrow.verdict == "no difference shown"
    assert "a difference of" in narrow.sentence
    assert "with 80 % power" in narrow.sentence
    assert narrow.members_needed is None or narrow.members_needed > 8


def test_more_than_two_are_adjusted(group: Write) -> None:
    recipes = {"a": (0.85, 0), "b": (0.9, 20), "c": (0.9, 40)}
    found = compare([group(name, members(*recipe)) for name, recipe in recipes.items()])
    assert [(p.a, p.b) for p in found.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    raw = [p.evidence.p_value or 1.0 for p in found.pairs]
    assert min(p.p_adjusted or 0 for p in found.pairs) == pytest.approx(3 * min(raw))
    assert "verdict" not in found.to_json()
    assert len(found.to_json()["pairs"]) == 3


def test_diverged_members_come_first(group: Write) -> None:
    broken = {
        "rows": rows(right(0.5, 1)),
        "test": {"accuracy": None, "error": None, "loss": None},
        "manifest": {"status": "diverged"},
    }
    paths = [group("a", members(0.9)), group("b", [*members(0.9, 50), broken])]
    found = compare(paths)
    assert found.warnings[0] == "1 of B's 9 members diverged."
    assert "have no accuracy and are left out, so B looks better" in found.warnings[1]
    assert found.sides[1].counted == 8
    assert found.sides[1].metrics["test"]["accuracy"]["n"] == 8
    assert "1 of 9 members diverged" in found.checks[0].text


def test_a_diverged_member_may_have_left_nothing(group: Write) -> None:
    path = group("b", members(0.9, 50))
    manifest = json.loads((path / "s7" / "manifest.json").read_text())
    for file in ("summary.json", "predictions.csv"):
        (path / "s7" / file).unlink()
    (path / "s7" / "manifest.json").write_text(json.dumps(manifest | {"status": "diverged"}))
    assert compare([group("a", members(0.9)), path]).sides[1].counted == 7


def test_seeds_added_after_a_look_are_told(group: Write) -> None:
    added = {"additions": [{"at": "2026-01-01", "members": 5}, {"at": "2026-01-02", "members": 8}]}
    once = {"additions": [{"at": "2026-01-01", "members": 8}]}
    paths = [group("a", members(0.9), manifest=once), group("b", members(0.9, 50), manifest=added)]
    (told,) = compare(paths).warnings
    assert told.startswith("Seeds were added to B after a look (5 → 8)")
    assert "14.6 %" in told


def test_one_seed_is_not_enough(group: Write) -> None:
    (pair,) = compare([group("a", members(0.9, 0, 1)), group("b", members(0.9, 50))]).pairs
    assert pair.evidence.p_value is None
    assert "At least two seeds of each are needed" in pair.sentence


def test_groups_without_usable_predictions_speak_of_the_split(group: Write) -> None:
    def scored(values: list[float]) -> list[dict[str, Any]]:
        told = {"higher_is_better": {"roc_auc": True}, "primary": "roc_auc"}
        return [{"rows": rows(right(0.9, 1)), "test": {"roc_auc": v}, **told} for v in values]

    a, b = [0.80, 0.81, 0.82], [0.90, 0.91, 0.93]
    (pair,) = compare([group("a", scored(a)), group("b", scored(b))]).pairs
    assert pair.evidence.scope == "this split"
    assert pair.evidence.p_value == pytest.approx(reference.ttest_ind(b, a, equal_var=False).pvalue)
    assert "the examples' chance is left out" in pair.sentence
    assert "on this split only" in pair.sentence


# -- groups over splits ----------------------------------------------------------------------------


def over_splits(values: list[float], hashes: str) -> dict[str, Any]:
    runs = [
        {
            "rows": rows(right(0.9, 1)),
            "test": {"accuracy": v},
            "manifest": {"split": {"train": f"t{h}", "dev": None, "test": f"e{h}"}},
        }
        for v, h in zip(values, hashes, strict=True)
    ]
    return {"members": runs, "manifest": {"varies": "split"}}


def test_splits_are_paired_by_their_hashes(group: Write) -> None:
    a, b = [0.90, 0.92, 0.85, 0.91], [0.93, 0.91, 0.94, 0.90]
    paths = [group("a", **over_splits(a, "wxyz")), group("b", **over_splits(b, "zyxw"))]
    (pair,) = compare(paths).pairs
    d = np.array(b[::-1]) - np.array(a)
    t = d.mean() / math.sqrt(d.var(ddof=1) * (1 / 4 + 0.2 / 0.6))
    assert pair.evidence.p_value == pytest.approx(2 * reference.t.sf(abs(t), 3))
    assert pair.evidence.scope == "data like this"
    assert "training sets included" in pair.sentence


def test_counts_in_the_manifest_come_before_the_configs_fractions(group: Write) -> None:
    sides = [over_splits([0.9, 0.8, 0.7], "xyz"), over_splits([0.8, 0.9, 0.9], "xyz")]
    for side in sides:
        for member in side["members"]:
            member["manifest"]["split"]["counts"] = {"train": 900, "test": 100}
    (pair,) = compare([group(n, **side) for n, side in zip("ab", sides, strict=True)]).pairs
    d = np.array([-0.1, 0.1, 0.2])
    t = d.mean() / math.sqrt(d.var(ddof=1) * (1 / 3 + 1 / 9))
    assert pair.evidence.p_value == pytest.approx(2 * reference.t.sf(abs(t), 2))


def test_other_splits_are_not_paired(group: Write) -> None:
    a, b = [0.90, 0.92, 0.85], [0.93, 0.91, 0.94]
    paths = [group("a", **over_splits(a, "xyz")), group("b", **over_splits(b, "uvw"))]
    (pair,) = compare(paths).pairs
    assert "different splits, so these are not paired" in pair.sentence
    assert pair.evidence.test.startswith("Welch")
    some = compare([paths[0], group("c", **over_splits([*b, 0.9], "xyuv"))]).pairs[0]
    assert "over the 2 splits in both" in some.sentence


def test_training_size_must_be_known(group: Write) -> None:
    config = {"data": {"source": "digits"}}
    sides = [over_splits([0.9, 0.8], "xy") | {"config": config} for _ in "ab"]
    with pytest.raises(RunError, match=r"neither manifest.json \(split.counts\) nor"):
        compare([group(n, **side) for n, side in zip("ab", sides, strict=True)])


def test_seeds_and_splits_do_not_mix(group: Write) -> None:
    paths = [group("a", **over_splits([0.9, 0.8], "xy")), group("b", members(0.9))]
    with pytest.raises(UsageError, match="train both with --seeds, or both with --splits"):
        compare(paths)


# -- what else is shown ----------------------------------------------------------------------------


def test_config_difference(run: Write, group: Write) -> None:
    other = {
        "name": "second",
        "seed": 5,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "model": {"name": "mlp", "hidden": [64]},
    }
    expected = {
        "optimizer.name": ("adam", "sgd"),
        "optimizer.lr": (0.001, 0.1),
        "optimizer.momentum": (None, 0.9),
        "model.hidden": ([64, 32], [64]),
    }
    x = rows(right(0.9, 1))
    found = compare([run("a", x), run("b", x, config=other)])
    assert {row.path: row.values for row in found.config} == expected | {"seed": (0, 5)}
    assert [side.name for side in found.sides] == ["first", "second"]
    found = compare([group("c", members(0.9)), group("d", members(0.9), config=other)])
    assert {row.path: row.values for row in found.config} == expected


def test_checks(run: Write) -> None:
    x = rows(right(0.9, 1))
    same = compare([run("a", x), run("b", x)])
    assert [check.name for check in same.checks] == ["status", "data", "split", "test examples"]
    assert all(check.same for check in same.checks)
    told = {"data": {"fingerprint": "f1"}, "split": {"train": "t1"}, "status": "interrupted"}
    other = compare([run("c", x), run("d", x, manifest=told)])
    assert [check.same for check in other.checks] == [False, False, False, True]
    assert other.warnings == ("B is interrupted: these are the scores of unfinished training.",)
    unknown = compare([run("e", x), run("f", x, manifest={"data": None, "split": None})])
    assert [check.same for check in unknown.checks[1:3]] == [None, None]


def test_cost_and_other_metrics_have_no_verdict(group: Write) -> None:
    found = compare([group("a", members(0.9)), group("b", members(0.9, 50))])
    cost = found.sides[0].cost
    assert (cost.seconds, cost.parameters, cost.epochs, cost.steps) == (2.5, 1234, 3, 30)
    names = [f"{row.split}/{row.metric}" for row in found.pairs[0].rows]
    assert names == [f"{s}/{m}" for s in ("train", "test") for m in ("accuracy", "error", "loss")]
    row = found.pairs[0].rows[-1]
    assert row.difference == pytest.approx(row.b["mean"] - row.a["mean"])


def test_dev_is_compared_without_test(run: Write) -> None:
    x = rows(right(0.9, 1), split="dev")
    dev = {"accuracy": float(right(0.9, 1).mean()), "loss": 0.3}
    paths = [run(name, x, {}, dev=dev) for name in "ab"]
    found = compare(paths)
    assert found.split == "dev"
    assert found.warnings[0].startswith("No run has test results, so dev is compared.")
    with pytest.raises(RunError, match="no results on test"):
        compare([run("c", rows(right(0.9, 1)), {}), paths[0]])


def test_json_is_strict_and_has_the_promised_keys(run: Write, group: Write) -> None:
    x = rows(right(0.9, 1))
    for paths in ([run("a", x), run("b", x)], [group(n, members(0.9, ord(n))) for n in "cd"]):
        data = json.loads(json.dumps(compare(paths, margin=0.01).to_json(), allow_nan=False))
        keys = {"metrics", "difference", "interval", "p_value", "test", "verdict", "scope"}
        assert keys <= data.keys()
        assert data["pairs"][0]["verdict"] == data["verdict"]
        assert data["runs"][0]["path"] == str(paths[0])
        assert set(data["metrics"]["test/accuracy"]) == {"A", "B", "difference"}


def test_histories(group: Write, run: Write) -> None:
    x = rows(right(0.9, 1))
    curves = histories(compare([run("a", x), run("b", x)]))
    assert list(curves) == ["A: first", "B: first"]
    np.testing.assert_array_equal(curves["A: first"][0]["dev/loss"], [2.5, np.nan])
    curves = histories(compare([group("c", members(0.9)), group("d", members(0.9))]))
    assert [len(runs) for runs in curves.values()] == [8, 8]


# -- what can't be compared ------------------------------------------------------------------------


def test_usage_errors(run: Write, group: Write, tmp_path: Path) -> None:
    x = rows(right(0.9, 1))
    a, b = run("a", x), run("b", x)
    other_task = run("r", x, task="regression")
    other_metric = run("p", x, primary="loss")
    other_loss = run("l", x, config={"loss": {"name": "hinge"}})
    cases: list[tuple[list[Path], dict[str, Any], str]] = [
        ([a], {}, "at least two"),
        ([a, a], {}, "given twice"),
        ([a, tmp_path / "b" / ".." / "a"], {}, "given twice"),
        ([a, b], {"margin": 0.0}, r"--margin should be a number above 0 \(received: 0.0\)"),
        ([a, b], {"margin": math.nan}, "--margin"),
        ([a, group("g", members(0.9))], {}, "either runs or groups, not both"),
        ([a, other_task], {}, "different tasks"),
        ([a, other_metric], {}, "different primary metrics .*choose with --metric"),
        ([a, b], {"metric": "acuracy"}, "did you mean 'accuracy'"),
        ([a, other_loss], {"metric": "loss"}, "minimize different losses"),
    ]
    for paths, options, message in cases:
        with pytest.raises(UsageError, match=message):
            compare(paths, **options)
    assert compare([a, other_metric], "accuracy").metric == "accuracy"
    losses = [row for row in compare([a, other_loss]).pairs[0].rows if row.metric == "loss"]
    assert [row.difference for row in losses] == [None, None]


def test_runs_without_results(run: Write) -> None:
    x = rows(right(0.9, 1))
    a, b = run("a", x), run("b", x, manifest={"status": "interrupted"})
    (b / "summary.json").unlink()
    with pytest.raises(RunError, match="no results: its status is interrupted; go on with it"):
        compare([a, b])
    dead = run("c", x, {"accuracy": None, "loss": None}, manifest={"status": "diverged"})
    with pytest.raises(RunError, match=r"c \(diverged\) has no number for test accuracy"):
        compare([a, dead])


def test_comparing_imports_nothing_heavy(run: Write) -> None:
    x, y = rows(right(0.9, 1)), rows(right(0.9, 2))
    code = (
        "import sys; from pathlib import Path\n"
        "from nnexp.analysis.comparing.compare import compare\n"
        "compare([Path(p) for p in sys.argv[1:]], margin=0.01).to_json()\n"
        "print(*[m for m in ('torch', 'pandas', 'scipy.stats', 'sklearn', 'matplotlib') "
        "if m in sys.modules])"
    )
    paths = [str(run("a", x)), str(run("b", y))]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
