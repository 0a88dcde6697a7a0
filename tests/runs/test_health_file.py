"""health.csv in a run's directory: there by default, the same after an interruption, sealed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from nnexp.config.experiment import Experiment
from nnexp.config.load import load_config
from nnexp.errors import ConfigError, DamagedRun, Interrupted, UntrustedRun
from nnexp.runs import restore
from nnexp.runs.checkpoint import Checkpoints
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.packs import Course, Watch, make_pack
from nnexp.runs.plan import plan_members
from nnexp.runs.resume import resume
from nnexp.runs.rundir import RunDir
from nnexp.train.health import COLUMNS
from tests.runs.test_execute import StopsAt

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"source": "iris"},
    "model": {"name": "mlp", "hidden": [6], "batch_norm": True, "dropout": 0.2},
}
EPOCHS = 50


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trained(
    tmp_path: Path, reporter: Reporter | None = None, seeds: int | None = None, **keys: Any
) -> RunDir:
    training = {"epochs": EPOCHS, "batch_size": 16, "checkpoint_seconds": 0, **keys}
    experiment = Experiment.model_validate({**SMALL, "training": training})
    order = Order(experiment, "as written\n", Path.cwd(), seeds=seeds)
    return start(order, tmp_path, reporter or Reporter())


def rows(run: RunDir) -> list[dict[str, str]]:
    with run.health.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_it_and_changes_in_nothing_else(tmp_path: Path) -> None:
    run, bare = trained(tmp_path), trained(tmp_path, record_health=False)
    assert not bare.health.exists()
    for name in ("metrics.csv", "model.safetensors", "last.safetensors", "summary.json"):
        assert (run.path / name).read_bytes() == (bare.path / name).read_bytes()
    found = rows(run)
    assert tuple(found[0]) == COLUMNS
    assert [row["layer"] for row in found[:4]] == ["0.linear", "1.batch_norm", "2.relu", "4.linear"]
    epochs = {int(row["epoch"]) for row in found}
    assert 0 < len(epochs) < EPOCHS  # its epochs are short
    assert len(found) == 4 * len(epochs)
    run.health.write_text("epoch\n")
    with pytest.raises(UntrustedRun, match=r"health\.csv was changed"):
        RunDir.open(run.path)


def test_a_group_has_one_a_member_and_resumes_to_the_same(tmp_path: Path) -> None:
    whole = trained(tmp_path / "a", seeds=2)
    with pytest.raises(Interrupted):
        trained(tmp_path / "b", StopsAt(EPOCHS - 2), seeds=2)
    (path,) = (tmp_path / "b" / "small").iterdir()
    again = resume(path, Reporter())
    texts = [member.health.read_bytes() for member in whole.members()]
    assert texts == [member.health.read_bytes() for member in again.members()]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    "row",
    [
        [],
        [1, 2, "0.linear"],
        ["1", 2, "0.linear", *[0.5] * 17],
        [1, 2, 0, *[0.5] * 17],
        [1, 2, "0.linear", *["x"] * 17],
        [1, 2, "0.linear", *[0.5] * 18],
    ],
)
def test_a_checkpoint_with_other_rows_is_refused(
    tmp_path: Path, row: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        trained(tmp_path, StopsAt(2))
    (path,) = (tmp_path / "small").iterdir()
    real = restore.restore

    def planted(loaded: Any, *rest: Any) -> Any:
        loaded.state["members"][0]["health"] = [row]
        return real(loaded, *rest)

    monkeypatch.setattr("nnexp.runs.packs.restore", planted)
    with pytest.raises(DamagedRun, match="does not hold the state of this run"):
        resume(path, Reporter())


def test_a_checkpoint_from_before_the_quantiles_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnexp.train.health.is_due", lambda *_: True)
    with pytest.raises(Interrupted):
        trained(tmp_path, StopsAt(EPOCHS - 2))
    (path,) = (tmp_path / "small").iterdir()
    real = restore.restore

    def shortened(loaded: Any, *rest: Any) -> Any:
        (member,) = loaded.state["members"]
        member["health"] = [row[:10] for row in member["health"]]
        return real(loaded, *rest)

    monkeypatch.setattr("nnexp.runs.packs.restore", shortened)
    found = rows(resume(path, Reporter()))
    assert len(found) == 4 * EPOCHS
    assert all(found[at]["std"] for at in (0, -1))
    assert [found[at]["p50"] != "" for at in (0, -1)] == [False, True]


def test_it_is_yes_or_no(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("data: {source: iris}\nmodel: linear\ntraining: {record_health: often}\n")
    with pytest.raises(ConfigError, match=r"training\.record_health"):
        load_config(path)


def test_a_sweeps_packs_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnexp.train.health.is_due", lambda *_: True)
    training = {"epochs": 2, "batch_size": 16, "device": "cpu"}
    experiment = Experiment.model_validate({**SMALL, "training": training})
    pack = make_pack(plan_members(experiment, tmp_path, 2, False), [0, 1], torch.device("cpu"))
    now, _ = Course(pack, "its own", Checkpoints(tmp_path)).go(torch.device("cpu"), Watch())
    assert [(len(member.history), member.health) for member in now.members] == [(2, []), (2, [])]
