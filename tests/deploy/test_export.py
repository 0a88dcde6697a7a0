"""`nnexp export`: whole runs in onnxruntime, and what can't be exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sklearn.datasets import load_diabetes, load_digits, load_iris

from nnexp.cli.app import run as run_command
from nnexp.components.datasets import Dataset
from nnexp.components.layers.basic import Linear
from nnexp.deploy import export, graph
from nnexp.deploy.export import export_run
from nnexp.deploy.layers import CONVERT
from nnexp.errors import DamagedRun, RunError, UsageError
from nnexp.registry import choose

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

Train = Callable[..., Path]
ROOT = Path(__file__).parents[2]
MLP = {"name": "mlp", "hidden": [6]}


def session(path: Path) -> Any:
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def predictions(run: Path) -> pd.DataFrame:
    """The test examples in predictions.csv."""
    found = pd.read_csv(run / "predictions.csv", dtype={"prediction": str, "target": str})
    return found[found["split"] == "test"]


def metadata(path: Path) -> dict[str, str]:
    return dict(session(path).get_modelmeta().custom_metadata_map)


@pytest.mark.parametrize("source", ["iris", "wine", "breast_cancer", "digits", "diabetes"])
def test_builtin_sets(source: str, train: Train, tmp_path: Path) -> None:
    run = train({"data": {"source": source}, "model": MLP})
    done = export_run(run, tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert done.agreement.part == "test"
    assert done.agreement.other_labels == 0
    assert done.agreement.examples == len(predictions(run))
    assert done.notes == ()


def test_classes_come_out_by_name(train: Train, tmp_path: Path) -> None:
    run = train({"data": {"source": "iris"}, "model": MLP})
    export_run(run, tmp_path / "m.onnx")
    rows = predictions(run)
    x = load_iris().data[rows["id"].astype(int)]
    label, chances = session(tmp_path / "m.onnx").run(["label", "probabilities"], {"inputs": x})
    assert label.tolist() == rows["prediction"].tolist()
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)
    about = metadata(tmp_path / "m.onnx")
    assert about["task"] == "classification"
    assert json.loads(about["classes"]) == ["setosa", "versicolor", "virginica"]
    assert len(json.loads(about["columns"])) == 4


def test_values_are_in_the_targets_units(train: Train, tmp_path: Path) -> None:
    run = train({"data": {"source": "diabetes"}, "model": MLP})
    export_run(run, tmp_path / "m.onnx")
    rows = predictions(run)
    x = load_diabetes(scaled=False).data[rows["id"].astype(int)]
    (values,) = session(tmp_path / "m.onnx").run(["values"], {"inputs": x})
    expected = rows["prediction"].astype(float).to_numpy()
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-5)


def test_a_table_with_text_and_gaps_takes_its_columns(train: Train, tmp_path: Path) -> None:
    run = train("flats.yaml", "--set", "training.epochs=1")
    done = export_run(run, tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert "district: string [N, 1]" in done.inputs
    assert "rooms: double [N, 1]" in done.inputs
    assert done.outputs == ("values: double [N, 1]",)


def test_a_convolutional_network(train: Train, tmp_path: Path) -> None:
    run = train("digits-cnn.yaml", "--set", "training.epochs=1")
    done = export_run(run, tmp_path / "m.onnx", int8=True)
    assert done.agreement.difference <= 1e-5
    assert done.int8 is not None
    assert done.int8.how == "static"
    assert done.int8.size_after < done.int8.size_before
    assert done.int8.before is not None
    assert done.int8.after is not None
    rows = predictions(run)
    assert done.int8.before == pytest.approx((rows["prediction"] == rows["target"]).mean())
    assert done.int8.after >= done.int8.before - 0.1
    x = load_digits().images[rows["id"].astype(int)][:, None].astype(np.float32)
    (label,) = session(tmp_path / "m.onnx").run(["label"], {"inputs": x})
    assert (label == rows["target"]).mean() == pytest.approx(done.int8.after)


def test_a_residual_network(train: Train, tmp_path: Path) -> None:
    run = train("resnet-digits.yaml", "--set", "training.epochs=1")
    done = export_run(run, tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert done.agreement.other_labels == 0
    rows = predictions(run)
    x = load_digits().images[rows["id"].astype(int)][:, None].astype(np.float32)
    label, chances = session(tmp_path / "m.onnx").run(["label", "probabilities"], {"inputs": x})
    assert label.tolist() == rows["prediction"].tolist()
    outputs = rows.filter(like="output_").to_numpy()
    expected = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(chances, expected, rtol=0, atol=1e-5)


def test_a_class_at_every_pixel(train: Train, tmp_path: Path) -> None:
    source = {"name": "shapes", "n": 40, "size": 11}  # an odd size: the way up fills it
    run = train({"data": {"source": source}, "model": {"name": "unet", "channels": [3, 4]}})
    done = export_run(run, tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert done.agreement.other_labels == 0
    assert done.outputs == ("label: string [N, 11, 11]", "probabilities: float [N, 3, 11, 11]")
    stored = load_file(run / "predictions.safetensors")
    ids = predictions(run)["id"].astype(int)
    x = choose(Dataset, source).load().features.numeric[ids].astype(np.float32)
    label, chances = session(tmp_path / "m.onnx").run(["label", "probabilities"], {"inputs": x})
    names = np.array(json.loads(metadata(tmp_path / "m.onnx")["classes"]))
    assert (label == names[stored["test.prediction"]]).all()
    expected = np.exp(stored["test.outputs"])
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(chances, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "output"),
    [("binary_cross_entropy", "probabilities"), ("hinge", "scores"), ("cross_entropy", None)],
)
def test_losses_of_two_classes(loss: str, output: str, train: Train, tmp_path: Path) -> None:
    config = {"data": {"source": "breast_cancer"}, "model": MLP, "loss": loss}
    done = export_run(train(config), tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert done.agreement.other_labels == 0
    assert done.outputs[1] == f"{output or 'probabilities'}: float [N, 2]"


@pytest.mark.parametrize("loss", ["multilabel_bce", "multilabel_hinge"])
def test_labels(loss: str, train: Train, tmp_path: Path) -> None:
    run = train("pumps.yaml", "--set", "training.epochs=1", "--set", f"loss={loss}")
    done = export_run(run, tmp_path / "m.onnx", int8=True)
    assert done.agreement.difference <= 1e-5
    assert done.agreement.other_labels == 0
    assert done.int8 is not None
    assert done.int8.metric == "accuracy of labels"
    assert json.loads(metadata(tmp_path / "m.onnx")["targets"])


def test_a_network_in_float64_or_bf16(train: Train, tmp_path: Path) -> None:
    for precision in ("float64", "bf16"):
        options = ("--set", f"training.precision={precision}")
        run = train({"data": {"source": "iris"}, "model": MLP}, *options)
        done = export_run(run, tmp_path / "m.onnx")
        assert done.agreement.difference <= 1e-5
        assert bool(done.notes) == (precision == "bf16")


def test_a_group_gives_its_best_member_or_the_one_asked_for(train: Train, tmp_path: Path) -> None:
    run = train({"data": {"source": "iris"}, "model": MLP}, "--seeds", "3")
    losses = [json.loads((run / f"s{i}/summary.json").read_text())["dev"]["loss"] for i in range(3)]
    best = int(np.argmin(losses))
    done = export_run(run, tmp_path / "m.onnx")
    assert done.run == run / f"s{best}"
    assert any(f"member s{best}" in note for note in done.notes)
    assert export_run(run, tmp_path / "m.onnx", member=1).run == run / "s1"
    with pytest.raises(UsageError, match=r"no member 7 with weights, only 0, 1, 2"):
        export_run(run, tmp_path / "m.onnx", member=7)
    with pytest.raises(UsageError, match="is a single run"):
        export_run(run / "s1", tmp_path / "m.onnx", member=1)


def test_without_data_it_is_tried_on_made_up_examples(train: Train, tmp_path: Path) -> None:
    data = shutil.copy(ROOT / "configs/data/flats.csv", tmp_path / "flats.csv")
    config = {
        "data": {"source": {"name": "csv", "path": str(data), "target": "rent", "id": "id"}},
        "model": MLP,
    }
    run = train(config)
    (tmp_path / "moved").mkdir()
    Path(data).rename(tmp_path / "moved/flats.csv")
    done = export_run(run, tmp_path / "m.onnx", int8=True)
    assert done.agreement.part == ""
    assert done.agreement.difference <= 1e-5
    assert done.int8 is not None
    assert done.int8.after is None
    assert "made-up examples" in done.notes[0]
    assert "--data-root" in done.notes[1]
    there = export_run(run, tmp_path / "m.onnx", data_root=tmp_path / "moved")
    assert there.agreement.part == "test"


def test_layers_without_a_form_go_through_torchs_exporter(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    run = train("digits-cnn.yaml", "--set", "training.epochs=1")
    monkeypatch.delitem(CONVERT, Linear)
    done = export_run(run, tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert done.agreement.examples > 300


def test_components_of_ones_own(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    plugin, out = str(ROOT / "configs/plugins/extras.py"), tmp_path / "m.onnx"
    config = str(ROOT / "configs/plugins/focal.yaml")
    train = ["train", config, "--out", str(tmp_path), "--quiet", "--set", "training.epochs=1"]
    assert run_command(["--plugin", plugin, *train]) == 0
    run = next(tmp_path.glob("*/*/manifest.json")).parent
    assert run_command(["export", str(run), "-o", str(out)]) == 3
    assert run_command(["--plugin", plugin, "export", str(run), "-o", str(out)]) == 0
    rows = predictions(run)
    x = load_digits().images[rows["id"].astype(int)][:, None].astype(np.float32)
    (label,) = session(out).run(["label"], {"inputs": x})
    assert label.tolist() == rows["prediction"].tolist()


@pytest.mark.parametrize(
    ("config", "name"), [("sequence-classes", "label"), ("embedded-columns", "values")]
)
def test_codes_and_sequences(config: str, name: str, train: Train, tmp_path: Path) -> None:
    run = train(f"{config}.yaml", "--set", "training.epochs=1")
    done = export_run(run, tmp_path / "m.onnx")
    assert done.agreement.difference <= 1e-5
    assert done.agreement.other_labels == 0
    assert done.outputs[0].startswith(f"{name}:")


def test_characters_are_refused(train: Train, tmp_path: Path) -> None:
    run = train("next-character.yaml", "--set", "training={epochs: 1, steps: 2}")
    with pytest.raises(UsageError, match=r"tokenize \(unit: character\) has no form in ONNX"):
        export_run(run, tmp_path / "m.onnx")


def test_a_column_may_be_called_as_an_output(train: Train, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    draw = np.random.default_rng(0)
    columns = {"label": draw.normal(size=60), "probabilities": draw.choice(["a", "b"], 60)}
    pd.DataFrame({**columns, "Add_1": draw.normal(size=60), "y": ["s", "t"] * 30}).to_csv(
        path, index=False
    )
    run = train(
        {"data": {"source": {"name": "csv", "path": str(path), "target": "y"}}, "model": MLP}
    )
    done = export_run(run, tmp_path / "m.onnx")
    assert [text.partition(":")[0] for text in done.outputs] == ["label_", "probabilities_"]
    assert done.agreement.difference <= 1e-5


# -- bad input -------------------------------------------------------------------------------------


def test_a_damaged_run_is_refused(train: Train, tmp_path: Path) -> None:
    run = shutil.copytree(train({"data": {"source": "iris"}, "model": MLP}), tmp_path / "run")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(RunError):
        export_run(run, tmp_path / "m.onnx")
    (run / "model.safetensors").unlink()
    with pytest.raises((DamagedRun, RunError)):
        export_run(run, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_run_that_diverged_is_refused(tmp_path: Path, capsys: Any) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "data: {source: diabetes, scale_target: false}\nmodel: {name: mlp, hidden: [8]}\n"
        "optimizer: {name: sgd, lr: 1000}\ntraining: {epochs: 3}\n"
    )
    assert run_command(["train", str(config), "--out", str(tmp_path), "--quiet"]) == 4
    run = next(tmp_path.glob("*/*/manifest.json")).parent
    assert run_command(["export", str(run), "-o", str(tmp_path / "m.onnx")]) == 3
    assert "diverged" in capsys.readouterr().err


def test_a_wrong_model_is_not_written(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train({"data": {"source": "iris"}, "model": MLP})
    monkeypatch.setitem(CONVERT, Linear, lambda at: at.add("MatMul", at.x, -at.own["weight"]))
    with pytest.raises(RunError, match="differs from the run"):
        export_run(run, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_the_extra_is_named_when_it_is_missing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    run = train({"data": {"source": "iris"}, "model": MLP})
    monkeypatch.setattr(graph.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"onnx is not installed.*nnexp\[onnx\]"):
        export_run(run, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "m.pt"], "should end in .onnx"),
        (["-o", "nowhere/m.onnx"], "there is no folder nowhere"),
        (["--opset", "9"], "9 is not between 20 and 23"),
        (["--member", "0"], "is a single run"),
        (["--data-root", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_wrong_options(options: list[str], message: str, train: Train, capsys: Any) -> None:
    run = train({"data": {"source": "iris"}, "model": MLP})
    assert run_command(["export", str(run), *options]) == 2
    assert message in capsys.readouterr().err


def test_the_command_tells_what_it_wrote(train: Train, tmp_path: Path, capsys: Any) -> None:
    run, out = train({"data": {"source": "iris"}, "model": MLP}), tmp_path / "m.onnx"
    assert run_command(["export", str(run), "-o", str(out), "--int8"]) == 0
    told = capsys.readouterr().out
    assert "largest difference from the run on 30 test examples" in told
    assert "int8 (dynamic)" in told
    assert told.splitlines()[-1] == str(out)
    assert run_command(["export", str(run), "-o", str(out), "--opset", "21", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["opset"] == 21
    assert told["agreement"]["difference"] < 1e-5
    onnx.checker.check_model(onnx.load(out))
    assert export.TOLERANCE == 1e-5
