"""Starting from another run: what is loaded, what stays frozen, and what can't be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nnexp.components.optimizers.optimizer import Optimizer
from nnexp.config.experiment import Experiment
from nnexp.errors import ConfigError, DataError, NnexpError
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.resume import resume
from nnexp.runs.rundir import RunDir

MODEL = {"name": "mlp", "hidden": [8, 6], "batch_norm": True}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Notes(Reporter):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def trained(
    folder: Path, home: Path = Path(), seeds: int | None = None, **keys: Any
) -> tuple[RunDir, list[str]]:
    config = {
        "name": "one",
        "data": {"source": "iris"},
        "model": MODEL,
        "training": {"epochs": 2, "batch_size": 16},
        **keys,
    }
    notes = Notes()
    order = Order(Experiment.model_validate(config), "as written\n", home, seeds=seeds)
    return start(order, folder, notes), notes.texts


def weights(run: RunDir, file: str = "last.safetensors") -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(run.path / file)
    return found


def from_run(path: Path | str, **fields: Any) -> dict[str, Any]:
    return {"name": "from_run", "path": str(path), **fields}


BODY = ["0.*", "1.*", "3.*", "4.*"]


@pytest.mark.parametrize(
    "optimizer", sorted(n for n, c in Optimizer.registered.items() if not getattr(c, "curved"))
)
def test_frozen_layers_keep_every_bit_and_a_new_head_is_learnt(
    tmp_path: Path, optimizer: str
) -> None:
    source, _ = trained(tmp_path)
    extra = {} if optimizer in ("adamw", "lion", "muon") else {"weight_decay": 0.1}
    run, notes = trained(
        tmp_path,
        data={"source": "wine"},  # 13 columns in place of 4: the first layer can't be loaded
        initialization=from_run(source.path, freeze=["3.*", "4.*"], otherwise="he_normal"),
        optimizer=optimizer,
        regularization={"l2": 0.1, "max_norm": 0.01, "l1": 0.01, **extra},
    )
    assert any("loaded" in note and "new: 0.linear.weight" in note for note in notes)
    before, after = weights(source, "model.safetensors"), weights(run)
    for name, value in after.items():
        if name.startswith(("3.", "4.")):
            assert np.array_equal(value, before[name]), name
        elif name.endswith("weight"):
            assert value.shape != before[name].shape or not np.array_equal(value, before[name])


def test_all_is_loaded_and_training_goes_on_from_there(tmp_path: Path) -> None:
    source, _ = trained(tmp_path, training={"epochs": 30, "batch_size": 16})
    run, notes = trained(tmp_path, initialization=from_run(source.path))
    assert any("from_run: loaded" in note and "new" not in note for note in notes)
    first = float((run.path / "metrics.csv").read_text().splitlines()[1].split(",")[4])
    scratch, _ = trained(tmp_path)
    other = float((scratch.path / "metrics.csv").read_text().splitlines()[1].split(",")[4])
    assert first != other
    loaded = run.read_json("summary.json")["train"]["loss"]
    assert loaded < 0.7 * scratch.read_json("summary.json")["train"]["loss"]


def test_statistics_of_frozen_layers_are_those_of_the_run(tmp_path: Path) -> None:
    source, _ = trained(tmp_path)
    run, _ = trained(tmp_path, initialization=from_run(source.path, freeze=BODY))
    before, after = weights(source, "model.safetensors"), weights(run)
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed == {"6.linear.weight", "6.linear.bias"}


def test_a_group_starts_from_one_run_and_resumes_without_it(tmp_path: Path) -> None:
    source, _ = trained(tmp_path)
    file = tmp_path / "kept.safetensors"
    os.rename(source.path / "model.safetensors", file)
    start_ = from_run(file.name, freeze=["0.*"])
    run, _ = trained(tmp_path, home=tmp_path, seeds=2, initialization=start_)
    rows = [weights(member) for member in run.members()]
    assert np.array_equal(rows[0]["0.linear.weight"], rows[1]["0.linear.weight"])
    assert not np.array_equal(rows[0]["6.linear.weight"], rows[1]["6.linear.weight"])
    file.unlink()
    resume(run.path, Reporter(), epochs=3)
    longer = weights(run.members()[0])
    assert np.array_equal(longer["0.linear.weight"], rows[0]["0.linear.weight"])
    assert not np.array_equal(longer["6.linear.weight"], rows[0]["6.linear.weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"freeze": ["7.*"]}, "no layer with weights is called '7.*'"),
        ({"path": "nowhere"}, "no such run"),
        ({"path": "group"}, "is a group of runs; name one of them"),
        ({"path": "empty"}, "it has no model.safetensors"),
        ({"path": "bad.safetensors"}, "is no file of weights"),
        ({"path": "nan.safetensors"}, "0.linear.weight holds values that are not finite"),
        ({"path": "other.safetensors"}, "none of the run's tensors fits this model (it has x"),
    ],
)
def test_what_can_not_be_used_is_told(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    source, _ = trained(tmp_path)
    good = tmp_path / "good.safetensors"
    os.rename(source.path / "model.safetensors", good)
    (tmp_path / "empty").mkdir()
    (tmp_path / "group" / "s0").mkdir(parents=True)
    (tmp_path / "group" / "s0" / "model.safetensors").write_bytes(good.read_bytes())
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04c__main__")
    nan = np.full((4, 8), np.nan, np.float32)
    save_file({"0.linear.weight": nan}, tmp_path / "nan.safetensors")
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    start_ = from_run(**{"path": "good.safetensors", **fields})
    with pytest.raises((ConfigError, DataError)) as caught:
        trained(tmp_path / "out", home=tmp_path, initialization=start_)
    assert isinstance(caught.value, NnexpError)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("manifest.json"))
