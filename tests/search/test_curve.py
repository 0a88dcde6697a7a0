"""Curves over data and width: the points that are trained, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from nnexp.analysis.results import read_result
from nnexp.cli.app import run
from nnexp.cli.curve import points_of
from nnexp.config.load import load_config
from nnexp.errors import RunError, UsageError
from nnexp.runs.packs import make_pack
from nnexp.runs.plan import plan_members, signature
from nnexp.runs.rundir import RunDir
from nnexp.search.curve import Curve, read_curve, verdict
from nnexp.search.folder import SweepDir
from nnexp.search.trials import Bench
from nnexp.train.blueprint import steps_an_epoch

CONFIG: dict[str, Any] = {
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [4, 4]},
    "optimizer": {"name": "adam", "lr": 0.02},
    "training": {"epochs": 2, "batch_size": 16},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return path


def curve(folder: Path, *options: str, **changes: Any) -> SweepDir:
    config = write(folder, **changes)
    given = ["--workers", "1", "--out", str(folder / "out"), *options]
    assert run(["curve", str(config), *given]) == 0
    return SweepDir.open(next((folder / "out").glob("*/*")))


def resolved(sweep: SweepDir, point: str) -> dict[str, Any]:
    return RunDir(sweep.path / "cells" / point).read_config()


def test_over_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "a.png"
    options = ["--over", "data", "--values", "20,0.5,90", "--seeds", "2", "--same-updates"]
    sweep = curve(tmp_path, *options, "--json", "-o", str(picture))
    told = json.loads(capsys.readouterr().out)
    assert [point["value"] for point in told["points"]] == [20, 45, 90]
    assert picture.read_bytes().startswith(b"\x89PNG")
    for point in told["points"]:
        home = sweep.path / "cells" / f"data-{point['value']:05d}"
        counts = RunDir(home / "s1").read_manifest()["split"]["counts"]
        assert counts["train"] == point["value"]
        assert resolved(sweep, home.name)["training"]["steps"] == 12  # 2 epochs of 6 batches
        scores = [RunDir(home / f"s{i}").read_summary()["test"]["accuracy"] for i in range(2)]
        assert point["test"]["scores"] == scores
        low, high = stats.t.interval(0.95, 1, np.mean(scores), stats.sem(scores))
        wanted = (max(low, 0), min(high, 1)) if scores[0] != scores[1] else (scores[0],) * 2
        assert point["test"]["interval"] == pytest.approx(wanted)
    assert run(["curve", "--resume", str(sweep.path), "-q"]) == 0  # nothing is left to do
    assert run(["plot", "curves", str(sweep.path), "-o", str(picture)]) == 3
    assert "is a curve, not a run" in " ".join(capsys.readouterr().err.split())
    for command in (["show", str(sweep.path)], ["runs", str(tmp_path / "out")]):
        assert run(command) == 0
        assert "curve" in capsys.readouterr().out
    assert run(["sweep", "--resume", str(sweep.path)]) == 3
    assert "nnexp curve --resume" in capsys.readouterr().err


def test_over_hidden(tmp_path: Path) -> None:
    sweep = curve(tmp_path, "--over", "hidden", "--values", "3,1", "--splits", "2", "-q")
    assert resolved(sweep, "hidden-00003")["model"]["hidden"] == [3, 3]
    found = read_curve(sweep)
    assert found.values == (1, 3)
    assert found.by_split
    assert found.ratios == (1 / 3, 1 / 3)  # iris: 90 to train on, 30 to test
    assert {split: scores.shape for split, scores in found.scores.items()} == {
        "train": (2, 2),
        "dev": (2, 2),
        "test": (2, 2),
    }
    state = sweep.state()
    sweep.put(sweep.path / "sweep.json", {k: v for k, v in state.items() if k != "curve"})
    assert run(["curve", "--resume", str(sweep.path)]) == 3


@pytest.mark.parametrize(
    ("over", "key", "values"),
    [("data", "data.subset", (20, 90)), ("hidden", "model.hidden", (1, 3))],
)
def test_points_are_single_trainings(
    over: str, key: str, values: tuple[int, int], tmp_path: Path
) -> None:
    given = ",".join(map(str, values))
    sweep = curve(tmp_path, "--over", over, "--values", given, "--seeds", "2", "-q")
    found = read_curve(sweep)
    for i, value in enumerate(values):
        setting = [value, value] if over == "hidden" else value
        out = tmp_path / f"alone-{value}"
        config = write(tmp_path)
        command = ["train", str(config), "--set", f"{key}={setting}", "--seeds", "2", "-q"]
        assert run([*command, "--out", str(out)]) == 0
        group = read_result(next(out.glob("*/*")))
        for split, scores in found.scores.items():
            alone = [member.value(split, found.metric) for member in group.runs]
            assert scores[i].tolist() == pytest.approx(alone, rel=1e-6)
        home = read_result(sweep.path / "cells" / f"{over}-{value:05d}")
        for own, alone_ in zip(home.runs, group.runs, strict=True):
            for column, values_ in own.history().items():
                np.testing.assert_allclose(values_, alone_.history()[column], rtol=1e-5, atol=1e-7)


def test_an_unfinished_one_is_told(tmp_path: Path) -> None:
    sweep = curve(tmp_path, "--over", "hidden", "--values", "1,2", "--seeds", "2", "-q")
    (sweep.path / "cells/hidden-00001/manifest.json").unlink()
    with pytest.raises(RunError, match="curve --resume"):
        read_curve(sweep)
    assert run(["curve", "--resume", str(sweep.path), "-q"]) == 0
    assert len(read_curve(sweep).values) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--over", "data", "--values", "200,20"], "the training split has 90 examples"),
        (["--over", "data", "--values", "20,20"], "two different points"),
        (["--over", "hidden", "--values", "1.5,2"], "are whole"),
        (["--over", "hidden", "--set", "model=linear"], "no hidden layers"),
        (["--over", "data", "--metric", "acuracy"], "did you mean 'accuracy'"),
        (["--over", "data", "--seeds", "2", "--splits", "2"], "only one of"),
        ([], "--over data or --over hidden"),
    ],
)
def test_wrong_use(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path)
    out = ["--out", str(tmp_path / "out"), "--workers", "1"]
    assert run(["curve", str(config), *options, *out]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["a", "1,-2", "inf,1", "nan"])
def test_points_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--values"):
        points_of(text)


def test_over_splits_it_is_paired_and_counts_the_overlap() -> None:
    """Nadeau & Bengio (2003): S²·(1/K + n_test/n_train) of the differences, split by split."""
    draw = np.random.default_rng(0)
    easy = draw.normal(0.0, 0.1, 6)  # some splits are easier, at every point
    scores = np.stack([0.5 + easy, 0.6 + easy + draw.normal(0, 0.01, 6)])
    scores[0, 2] = np.nan  # its partner has no part either
    kinds = {"test": scores}
    found = Curve("data", "accuracy", True, (60, 90), kinds, True, (), ratios=(0.5, 1 / 3))
    apart = np.delete(scores[1] - scores[0], 2)
    half = stats.t.ppf(0.975, 4) * apart.std(ddof=1) * np.sqrt(1 / 5 + 0.5)
    low, high = apart.mean() - half, apart.mean() + half
    told = f"test accuracy improves by {apart.mean():.3g} [{low:.3g}, {high:.3g}]"
    assert verdict(found).endswith(told)


@pytest.mark.parametrize("size", [16, 89, "full"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_steps_an_epoch_are_the_trainers(tmp_path: Path, size: Any, batch_norm: bool) -> None:
    changes: dict[str, Any] = {
        "model": {"name": "mlp", "hidden": [4], "batch_norm": batch_norm},
        "training": {"batch_size": size},
    }
    config, bench = load_config(write(tmp_path, **changes)), Bench(tmp_path)
    from nnexp.lazy import torch

    plan = plan_members(config.experiment, tmp_path, 1, False)
    wanted = len(make_pack(plan, [0], torch.device("cpu")).bounds)
    resolved = bench.resolved(config.experiment)
    assert steps_an_epoch(resolved, signature(bench.prepared(resolved))) == wanted


def made(over: str, *means: float, sd: float = 0.01) -> Curve:
    spread = np.array([-sd, 0.0, sd])
    scores = np.array([mean + spread for mean in means])
    values = tuple(2**i for i in range(len(means)))
    kinds = {"dev": scores, "test": scores}
    return Curve(over, "accuracy", True, values, kinds, False, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("curve", "told"),
    [
        (made("data", 0.5, 0.6, 0.9), "test accuracy improves by 0.3 [0.277, 0.323]"),
        (made("data", 0.5, 0.9, 0.6), "worsens by 0.3"),
        (made("data", 0.5, 0.6, 0.601), "no gain is shown"),
        (made("hidden", 0.5, 0.6, 0.9), "the widest net"),
        (made("hidden", 0.5, 0.9, 0.6), "best on dev: 2 units; with 4 test accuracy is worse"),
        (made("hidden", 0.5, 0.9, 0.899), "are worse is not shown"),
        (made("data", 0.5), ""),
    ],
)
def test_verdicts(curve: Curve, told: str) -> None:
    found = verdict(curve)
    assert told in found if told else not found
