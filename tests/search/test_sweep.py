"""Sweeps end to end: what they leave, that packs and orders do not matter, and what goes wrong."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nnexp.cli.app import run
from nnexp.search.folder import SweepDir
from nnexp.search.trials import Bench

CONFIG: dict[str, Any] = {
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": "momentum",
    "training": {"epochs": 3, "batch_size": 16},
    "sweep": {
        "search": {"optimizer.lr": {"log_uniform": [1e-3, 0.3]}, "model.dropout": {}},
        "trials": 6,
        "fresh_seeds": 3,
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    """The config with other keys; those in `sweep` are merged."""
    sweep = {**CONFIG["sweep"], **changes.pop("sweep", {})}
    return {**CONFIG, **changes, "sweep": sweep}


def write(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def sweep(folder: Path, config: dict[str, Any], *options: str) -> SweepDir:
    path = write(folder, config)
    arguments = ["sweep", str(path), "--out", str(folder / "runs"), "--quiet", *options]
    assert run(arguments) == 0
    (found,) = (folder / "runs" / "c").iterdir()
    return SweepDir(found)


def table(found: SweepDir) -> list[dict[str, str]]:
    with found.table.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SweepDir:
    return sweep(tmp_path_factory.mktemp("swept"), CONFIG, "--workers", "2")


def test_every_trial_is_a_light_run(found: SweepDir) -> None:
    rows = table(found)
    assert [row["trial"] for row in rows] == [str(i) for i in range(6)]
    for number, row in enumerate(rows):
        home = found.trial(number)
        summary = home.read_summary()
        assert float(row["dev/accuracy"]) == summary["dev"]["accuracy"]
        resolved = home.read_config()
        assert resolved["optimizer"]["lr"] == float(row["optimizer.lr"])
        assert resolved["model"]["dropout"] == float(row["model.dropout"])
        assert not home.model.exists()
        assert not home.checkpoints.exists()
    assert not list(found.checkpoints.glob("*"))


def test_the_summary_names_the_best_trial_and_its_honest_score(found: SweepDir) -> None:
    summary = found.read(found.summary)
    scores = [float(row["dev/accuracy"]) for row in table(found)]
    assert summary["best"]["score"] == max(scores)
    assert summary["best"]["trial"] == scores.index(max(scores))
    winner = found.winner.read_summary()
    assert summary["fresh"]["test"]["mean"] == pytest.approx(winner["test"]["accuracy"]["mean"])
    bias = summary["best"]["score"] - winner["test"]["accuracy"]["mean"]
    assert summary["fresh"]["selection_bias"] == pytest.approx(bias)
    low, high = summary["fresh"]["test"]["interval"]
    assert low <= summary["fresh"]["test"]["mean"] <= high
    seeds = {member.read_config()["seed"] for member in found.winner.members()}
    assert len(seeds) == 3
    assert 0 not in seeds


def test_the_best_config_trains_to_the_same_number(found: SweepDir, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--quiet"]
    assert run(["train", str(found.best_config), *out]) == 0
    (again,) = tmp_path.glob("*/*/summary.json")
    alone = json.loads(again.read_text())["dev"]["accuracy"]
    assert alone == found.read(found.summary)["alone"]
    assert f"alone from this file: {alone:.6g}" in found.best_config.read_text()
    assert run(["eval", str(found.path / "best")]) == 0


def test_its_groups_can_be_compared(found: SweepDir, capsys: Any) -> None:
    assert run(["compare", str(found.path / "best"), str(found.winner.path / "s0")]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_json_is_the_summary(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path, changed(sweep={"trials": 2, "fresh_seeds": 0}))
    assert run(["sweep", str(path), "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["trials"], told["finished"], told["metric"]) == (2, 2, "dev/accuracy")
    assert "fresh" not in told


def test_seeds_and_other_widths_are_packed_and_equal_the_runs_alone(tmp_path: Path) -> None:
    config = changed(
        training={"epochs": 2, "batch_size": 16, "precision": "float64"},
        sweep={
            "search": {"model.hidden": [[3], [5]], "model.activation": ["relu", "tanh"]},
            "method": "grid",
            "seeds": 3,
            "fresh_seeds": 0,
        },
    )
    found = sweep(tmp_path, config, "--workers", "1")
    assert len(list((found.path / "packs").glob("*.json"))) == 4 + 1  # and the winner alone
    for number in range(4):
        for member in found.trial(number).members():
            alone = tmp_path / f"{number}-{member.path.name}"
            arguments = [str(member.resolved), "--out", str(alone), "--quiet"]
            assert run(["train", *arguments]) == 0
            (summary,) = alone.glob("*/*/summary.json")
            expected = json.loads(summary.read_text())
            assert member.read_summary()["dev"]["loss"] == pytest.approx(
                expected["dev"]["loss"], rel=1e-9
            )


def test_packs_do_not_change_with_workers_method_or_order(tmp_path: Path) -> None:
    """A trial that is replayed in its recorded pack gives the same bits."""
    found = sweep(tmp_path / "a", changed(sweep={"trials": 8}), "--workers", "2")
    before = {n: found.trial(n).metrics.read_bytes() for n in range(8)}
    (found.path / "replayed").mkdir()
    from nnexp.runs.packs import Watch
    from nnexp.search.packing import train_pack

    copy = SweepDir(found.path / "replayed")
    copy.make()
    copy.put(copy.path / "sweep.json", found.state())
    for pack in (found.path / "packs").glob("*.json"):
        (copy.path / "packs" / pack.name).write_bytes(pack.read_bytes())
    for number in found.read(found.batch(0))["packs"]:
        train_pack(copy, number, Bench(Path.cwd()), Watch())
    assert {n: copy.trial(n).metrics.read_bytes() for n in range(8)} == before


def test_pruned_trials_leave_their_packs(tmp_path: Path) -> None:
    config = changed(
        training={"epochs": 9, "batch_size": 16},
        sweep={"trials": 9, "halving": {"first": 1, "factor": 3}, "fresh_seeds": 0},
    )
    found = sweep(tmp_path, config, "--workers", "1")
    rows = table(found)
    epochs = sorted(int(row["epochs"]) for row in rows)
    assert epochs == [1] * 6 + [3] * 2 + [9]
    (whole,) = (row for row in rows if row["epochs"] == "9")
    assert [row["state"] for row in rows].count("pruned") == 8
    assert found.read(found.summary)["best"]["trial"] == int(whole["trial"])
    first = {n: found.trial(n).metrics.read_text().splitlines() for n in range(9)}
    at = first[0][0].split(",").index("dev/accuracy")
    scores = sorted(
        ((-float(lines[1].split(",")[at]), n) for n, lines in first.items()), key=lambda s: s
    )
    stayed = {n for n, lines in first.items() if len(lines) > 2}
    assert stayed == {n for _, n in scores[:3]}


@pytest.mark.parametrize("method", ["tpe", "coarse_to_fine", "genetic", "hypergradient"])
def test_adaptive_methods_run(tmp_path: Path, method: str) -> None:
    if method in ("tpe", "genetic"):
        pytest.importorskip("optuna")
    config = changed(sweep={"method": method, "trials": 20, "fresh_seeds": 0})
    config["training"] = {"epochs": 1, "batch_size": 32}
    if method == "hypergradient":
        config["sweep"] = {**config["sweep"], "search": {"optimizer.lr": {}}}
        config["sweep"]["method"] = {"name": method, "updates": 2}
    found = sweep(tmp_path, config, "--workers", "1")
    assert len(table(found)) == 20
    assert len(list((found.path / "batches").glob("*.json"))) == 10


def test_tuned_arms_are_compared(tmp_path: Path, capsys: Any) -> None:
    arms = {"raw": {"preprocessing": []}, "scaled": {"preprocessing": ["standardize"]}}
    path = write(tmp_path, changed(sweep={"arms": arms, "trials": 4}))
    assert run(["sweep", str(path), "--out", str(tmp_path / "runs"), "--workers", "1"]) == 0
    text = capsys.readouterr().out
    assert "tuned against tuned (A = raw, B = scaled)" in text
    assert "untuned (at each of 4 settings that all arms tried)" in text
    (home,) = (tmp_path / "runs" / "c").iterdir()
    summary = json.loads((home / "summary.json").read_text())
    assert set(summary["arms"]) == {"raw", "scaled"}
    ahead = [summary["shared"]["arms"][arm]["ahead"] for arm in arms]
    assert sum(ahead) <= 4
    for arm in arms:
        assert SweepDir(home / "arms" / arm).winner.read_summary()["members"] == 3


# -- what goes wrong -------------------------------------------------------------------------------


def failed(folder: Path, config: dict[str, Any], *options: str, code: int = 2) -> None:
    arguments = ["sweep", str(write(folder, config)), "--out", str(folder / "runs"), *options]
    assert run(arguments) == code


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": {"optimizer.lr": {"uniform": [0, 2000]}}}, "optimizer.lr: should be at most"),
        ({"search": {"model.hidden": [[4], [0]]}}, "model.hidden.0: should be at least 1"),
        ({"search": {"loss": ["cross_entropy", "mse"]}}, "loss"),
        ({"metric": "dev/auc"}, "sweep.metric: is no metric of this config"),
        ({"metric": "test/accuracy"}, "sweep.metric: is no metric of this config"),
        ({"arms": {"one": {}}}, "one arm has nothing to be compared with"),
        ({"arms": {"a": {"model.hiden": [3]}, "b": {}}}, "hiden"),
        ({"trials": 0}, "sweep.trials: should be"),
        ({"methd": "grid"}, "did you mean method?"),
    ],
)
def test_failing_configs_are_told_before_training(
    tmp_path: Path, capsys: Any, change: dict[str, Any], said: str
) -> None:
    failed(tmp_path, changed(sweep=change))
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_all_failing_configs_are_told(tmp_path: Path, capsys: Any) -> None:
    change = {"search": {"model.hidden": [[4], [0], [-3]], "optimizer.lr": [0.1, -1.0]}}
    failed(tmp_path, changed(sweep=change))
    text = capsys.readouterr().err
    assert text.startswith("3 problems") or "\n3 problems" in text
    assert "--skip-invalid leaves such trials out" in text


def test_invalid_trials_can_be_left_out(tmp_path: Path) -> None:
    change = {"search": {"model.hidden": [[4], [0]]}, "method": "grid", "fresh_seeds": 0}
    found = sweep(tmp_path, changed(sweep=change), "--skip-invalid", "--workers", "1")
    assert [row["state"] for row in table(found)] == ["finished", "invalid"]


def test_a_sweep_needs_its_section_and_a_dev_part(tmp_path: Path, capsys: Any) -> None:
    failed(tmp_path, {key: value for key, value in CONFIG.items() if key != "sweep"})
    assert "sweep: is missing" in capsys.readouterr().err
    split = {"source": "iris", "split": {"train": 0.8, "dev": None, "test": 0.2}}
    failed(tmp_path, changed(data=split))
    assert "there is no dev split to search by" in capsys.readouterr().err


def test_a_trial_that_diverges_harms_no_other(tmp_path: Path) -> None:
    config = changed(sweep={"search": {"optimizer.lr": [0.1, 0.2, 1000.0]}, "method": "grid"})
    config |= {"data": {"source": "diabetes", "scale_target": False}, "preprocessing": []}
    config["sweep"]["fresh_seeds"] = 0
    found = sweep(tmp_path, config, "--workers", "1")
    rows = table(found)
    assert rows[2]["state"] == "diverged"
    assert rows[2]["dev/rmse"] == ""
    assert "finished" in {row["state"] for row in rows[:2]} or rows[0]["state"] == "diverged"


def test_when_all_diverge_that_is_said(tmp_path: Path, capsys: Any) -> None:
    config = changed(sweep={"search": {"optimizer.lr": [900.0, 1000.0]}, "method": "grid"})
    config |= {"data": {"source": "diabetes", "scale_target": False}, "preprocessing": []}
    failed(tmp_path, config, "--workers", "1", code=4)
    assert "all diverged" in capsys.readouterr().err


def test_training_passes_over_the_section(tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG)
    assert run(["train", str(path), "--out", str(tmp_path), "--quiet"]) == 0
    (resolved,) = tmp_path.glob("*/*/resolved.yaml")
    assert "sweep" not in yaml.safe_load(resolved.read_text())


@pytest.mark.parametrize("victim", ["sweep", "worker"])
def test_a_killed_sweep_goes_on_to_the_same_trials(
    tmp_path: Path, capsys: Any, victim: str
) -> None:
    config = changed(
        training={"epochs": 400, "batch_size": 16, "checkpoint_seconds": 0.1},
        sweep={"trials": 6, "fresh_seeds": 0},
    )
    whole = sweep(tmp_path / "whole", config, "--workers", "2")
    path = write(tmp_path / "killed", config)
    start = "from nnexp.cli.app import main; main()"
    out = tmp_path / "killed" / "runs"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            start,
            "sweep",
            str(path),
            "--out",
            str(out),
            "--workers",
            "2",
            "-q",
        ],
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(out.glob("c/*/checkpoint/pack*")):
        time.sleep(0.01)
    os.kill(process.pid if victim == "sweep" else _worker_of(process.pid), signal.SIGKILL)
    code = process.wait()
    (home,) = (out / "c").iterdir()
    if victim == "sweep":
        assert code == -signal.SIGKILL
        assert run(["sweep", "--resume", str(home), "--quiet"]) == 0
    else:
        assert code == 0
    for number in range(6):
        one, other = whole.trial(number), SweepDir(home).trial(number)
        assert one.metrics.read_bytes() == other.metrics.read_bytes()
        assert one.summary.read_bytes() == other.summary.read_bytes()
    capsys.readouterr()
    assert run(["sweep", "--resume", str(home), "--quiet"]) == 0


def _worker_of(process: int) -> int:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            return int(path.parent.name)
    raise AssertionError("there is no worker")


def test_a_second_process_is_refused(found: SweepDir, capsys: Any) -> None:
    with found.lock():
        assert run(["sweep", "--resume", str(found.path)]) == 3
    assert "is being written" in capsys.readouterr().err


def test_a_finished_sweep_is_left_as_it_is(found: SweepDir, capsys: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in found.path.rglob("*.json")}
    assert run(["sweep", "--resume", str(found.path)]) == 0
    assert "is finished; nothing was changed" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in found.path.rglob("*.json")} == before


def test_a_full_disk_stops_it_with_what_is_there_intact(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that reports a full disk; the real thing needs one."""
    from nnexp.search.engine import Processes

    given: list[int] = []

    def run_one(*given_to: Any) -> None:
        told = given_to[-1]
        told({"failed": 0, "error": "no space left", "kind": "OutOfResources"})
        given.append(1)

    monkeypatch.setattr(Processes, "run", run_one)
    failed(tmp_path, CONFIG, "--workers", "1", code=6)
    assert "no space left" in capsys.readouterr().err
    assert not given
    (home,) = (tmp_path / "runs" / "c").iterdir()
    assert SweepDir(home).state()["status"] == "interrupted"
    monkeypatch.undo()
    assert run(["sweep", "--resume", str(home), "--quiet"]) == 0
    assert len(table(SweepDir(home))) == 6


def test_options_that_make_no_sense_are_refused(found: SweepDir, tmp_path: Path) -> None:
    assert run(["sweep"]) == 2
    assert run(["sweep", "--resume", str(found.path), "--trials", "3"]) == 2
    assert run(["sweep", "--resume", str(tmp_path)]) == 3


def test_luck_is_not_taken_for_skill(tmp_path: Path) -> None:
    """On labels of pure noise the best of 200 trials looks better than chance, and is not."""
    rows = np.random.default_rng(0).normal(size=(400, 4)).round(3)
    labels = np.random.default_rng(1).integers(0, 2, 400)
    pairs = zip(rows, labels, strict=True)
    lines = [",".join(map(str, row)) + f",{'ab'[label]}" for row, label in pairs]
    (tmp_path / "noise.csv").write_text("p,q,r,s,kind\n" + "\n".join(lines) + "\n")
    config = changed(
        data={"source": {"name": "csv", "path": "noise.csv", "target": "kind"}},
        training={"epochs": 4, "batch_size": 32},
        sweep={"trials": 200, "fresh_seeds": 10},
    )
    found = sweep(tmp_path, config, "--workers", "2")
    summary = found.read(found.summary)
    assert summary["best"]["score"] > 0.55
    low, high = summary["fresh"]["test"]["interval"]
    assert low < 0.5 < high
    assert summary["fresh"]["selection_bias"] > 0.03
