"""`nnexp plot …` and what its pictures are made of, on small runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from sklearn.metrics import confusion_matrix

from nnexp.analysis.pictures import (
    as_ran,
    confusion_counts,
    members_of,
    planned,
    probabilities,
    times_answered,
    values,
)
from nnexp.analysis.results import Result, read_result
from nnexp.cli.app import run as run_command
from nnexp.components.schedules import Schedule
from nnexp.errors import DamagedRun
from nnexp.lazy import torch
from nnexp.runs.inside import first_filters, plane, plane_points
from nnexp.runs.plan import read_experiment
from nnexp.runs.rundir import RunDir

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains a config of few keys; the run's path."""
    folder = tmp_path_factory.mktemp("plots")

    def trained(*options: str, **config: object) -> Path:
        name = f"c{len(list(folder.iterdir()))}"
        path = folder / f"{name}.yaml"
        training = {"epochs": 2, "batch_size": 32}
        path.write_text(yaml.safe_dump({"training": training, **config}))
        out = folder / f"{name}-runs"
        assert run_command(["train", str(path), "--out", str(out), "-q", *options]) == 0
        return next(out.glob("*/*"))

    return trained


MLP = {"name": "mlp", "hidden": [4]}


@pytest.fixture(scope="module")
def moons(train: Train) -> Path:
    training = {"epochs": 12, "batch_size": 32}
    return train("--seeds", "2", data={"source": "moons"}, model=MLP, training=training)


@pytest.fixture(scope="module")
def diabetes(train: Train) -> Path:
    return train(data={"source": "diabetes"}, model=MLP)


@pytest.fixture(scope="module")
def digits(train: Train) -> Path:
    return train(data={"source": "digits"}, model=MLP, schedule="one_cycle")


@pytest.mark.parametrize(
    "what", ["curves", "schedule", "confusion", "calibration", "pr", "layers", "boundary"]
)
def test_pictures_of_a_group(what: str, moons: Path, tmp_path: Path) -> None:
    assert run_command(["plot", what, str(moons), "-o", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_of_other_runs(diabetes: Path, digits: Path, config: Path, tmp_path: Path) -> None:
    svg = str(tmp_path / "a.svg")
    assert run_command(["plot", "residuals", str(diabetes), "-o", svg]) == 0
    assert run_command(["plot", "filters", str(digits), "-o", svg]) == 0
    assert run_command(["plot", "schedule", str(config), "-o", svg]) == 0
    vectors = tmp_path / "v.txt"
    vectors.write_text("3 2\na 1 0\nb 0 1\nc 1 1\n")
    assert run_command(["plot", "words", str(vectors), "-o", svg]) == 0
    gif = tmp_path / "a.gif"
    options = ["--optimizers", "sgd,adam", "--steps", "10", "--gif", str(gif)]
    assert run_command(["plot", "surface", "-o", svg, *options]) == 0
    assert gif.read_bytes().startswith(b"GIF8")


@pytest.mark.parametrize(
    ("what", "name", "told"),
    [
        ("confusion", "diabetes", "answers with no class"),
        ("calibration", "diabetes", "gives no probabilities"),
        ("residuals", "moons", "are for a regression"),
        ("pr", "diabetes", "this is regression"),
        ("pr", "digits", "choose one of its 10 classes"),
        ("filters", "moons", "takes no images"),
        ("boundary", "digits", "a plane needs just two"),
        ("words", "moons", "holds no word vectors"),
    ],
)
def test_pictures_that_make_no_sense(
    what: str,
    name: str,
    told: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = request.getfixturevalue(name)
    assert run_command(["plot", what, str(path), "-o", str(tmp_path / "a.png")]) in (2, 3)
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["curves", "RUN", "-o", "a.bmp"], "should end in"),
        (["curves", "RUN", "-o", "no/a.png"], "there is no folder"),
        (["curves", "RUN", "-o", "."], "should end in"),
        (["curves", "RUN", "-o", "a"], "should end in"),
        (["curves", "RUN", "RUN", "-o", "a.png"], "named twice"),
        (["pr", "RUN", "-o", "a.png", "--class", "2"], "no class of it"),
        (["layers", "RUN", "-o", "a.png", "--member", "2"], "members 0 to 1"),
        (["curves", "RUN", "-o", "a.png", "--metric", "acuracy"], "did you mean 'accuracy'"),
        (["confusion", "RUN", "-o", "a.png", "--member", "7"], "members 0 to 1"),
        (["confusion", "RUN", "-o", "a.png", "--split", "train"], "no predictions for train"),
        (["schedule", "RUN", "-o", "a.png", "--set", "seed=1"], "changes a config"),
        (["surface"], "say where to"),
        (["surface", "--gif", "a.png"], "should end in .gif"),
    ],
)
def test_wrong_use(
    options: list[str],
    told: str,
    moons: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["plot", *(str(moons) if o == "RUN" else o for o in options)]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_layers_need_a_record(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    training = {"epochs": 2, "record_health": False}
    path = train(data={"source": "moons"}, model=MLP, training=training)
    assert run_command(["plot", "layers", str(path), "-o", str(path.parent / "a.png")]) == 2
    assert "training.record_health was off" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", [["plot", "curves", "RUN"], ["curve", "CONFIG"]])
def test_without_matplotlib(
    command: list[str],
    moons: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is told before anything is read or trained."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    paths = {"RUN": str(moons), "CONFIG": str(config)}
    given = [paths.get(part, part) for part in command]
    over = ["--over", "data"] if "curve" in command else []
    picture = config.parent / "a.png"
    assert run_command([*given, *over, "-o", str(picture)]) == 2
    assert "pip install 'nnexp[plot]'" in " ".join(capsys.readouterr().err.split())
    assert not (config.parent / "runs").exists()


def test_confusion_is_scikit_learns(moons: Path) -> None:
    members = members_of(moons)
    counts, classes = confusion_counts(members, "test")
    wanted = sum(
        confusion_matrix(rows.texts("target"), rows.texts("prediction"), labels=classes)
        for rows in (run.predictions("test") for run in members)
    )
    np.testing.assert_array_equal(counts, wanted)


@pytest.mark.parametrize("said", [1, 5, -1])
def test_confusion_of_positions(said: int, tmp_path: Path) -> None:
    (tmp_path / "preprocessing.json").write_text('{"classes": ["a", "b"]}')
    found = {"target": np.array([[0, 1, -1]]), "prediction": np.array([[0, said, said]])}
    stored = {f"test.{name}": one for name, one in found.items()}
    save_file(stored, tmp_path / "predictions.safetensors")
    run = Result(tmp_path, "run", {})
    run.__dict__["summary"] = {"task": "dense"}
    if said == 1:
        np.testing.assert_array_equal(confusion_counts([run], "test")[0], np.eye(2))
        return
    with pytest.raises(DamagedRun, match="has a class that is unknown"):
        confusion_counts([run], "test")


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "multilabel_bce"])
def test_probabilities_are_the_losss(loss: str, train: Train, tmp_path: Path) -> None:
    source: object = "moons"
    if loss == "multilabel_bce":
        rows = [f"{i / 40},{i % 2},{int(i > 20)}" for i in range(40)]
        (tmp_path / "a.csv").write_text("\n".join(["x,a,b", *rows]))
        source = {"name": "csv", "path": str(tmp_path / "a.csv"), "target": ["a", "b"]}
    run = members_of(train(data={"source": source}, model=MLP, loss=loss))[0]
    spec = read_experiment(RunDir(run.path)).loss
    assert spec is not None
    wanted = spec.probabilities(torch.as_tensor(run.outputs("test"))[None])
    assert wanted is not None
    found, targets = probabilities([run], "test")
    np.testing.assert_allclose(found, wanted[0], rtol=1e-6)
    assert targets.shape == ((len(found), 2) if loss == "multilabel_bce" else (len(found),))


@pytest.mark.parametrize(
    ("what", "source"),
    [("confusion", "moons"), ("calibration", "moons"), ("pr", "moons"), ("boundary", "moons"),
     ("residuals", "diabetes"), ("filters", "digits")],
)  # fmt: skip
def test_pictures_of_a_committee(what: str, source: str, train: Train) -> None:
    config = {"source": source, "subset": 60}
    group = train("--seeds", "2", data=config, model=MLP, training={"epochs": 1})
    out = group.parent / "committee"
    assert run_command(["ensemble", str(group), "--out", str(out)]) == 0
    committee = next(out.glob("*/*"))
    picture = out / "a.png"
    assert run_command(["plot", what, str(committee), "-o", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("split", ["shared", "folds", "random"])
def test_intervals_count_an_example_as_often_as_it_was_answered(
    split: str, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all of a group's 3 members, if they share the split; of folds by one."""
    of = {"name": "k_fold", "folds": 3} if split == "folds" else {"train": 0.5, "test": 0.5}
    data = {"source": {"name": "moons", "n": 60}, "split": of}
    path = train("--seeds" if split == "shared" else "--splits", "3", data=data, model=MLP)
    times, told = times_answered(members_of(path), "test"), list[float]()
    module = import_module("nnexp.report.figures.calibration")
    binned = module.reliability

    def reliability(*answers: Any, times: float, **_: Any) -> Any:
        told.append(times)
        return binned(*answers)

    for name in ("figures.calibration.reliability", "html.class_charts.in_bins"):
        monkeypatch.setattr(f"nnexp.report.{name}", reliability)
    assert run_command(["plot", "calibration", str(path), "-o", str(path.parent / "a.png")]) == 0
    assert run_command(["report", str(path), "-o", str(path.parent / "a.html")]) == 0
    assert told == [times, times]
    if split == "random":
        assert 1.0 < times < 3.0
    else:
        assert times == {"shared": 3.0, "folds": 1.0}[split]


def test_probabilities_give_the_predictions(moons: Path) -> None:
    members = members_of(moons, 1)
    chances, targets = probabilities(members, "test")
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    accuracy = members[0].value("test", "accuracy")
    assert (chances.argmax(axis=1) == targets).mean() == pytest.approx(accuracy)


def test_values_are_those_of_the_summary(diabetes: Path) -> None:
    true, said, names = values(members_of(diabetes), "test")
    assert names == ("progression",)
    mae = np.abs(true - said).mean()
    assert mae == pytest.approx(read_result(diabetes).value("test", "mae"), rel=1e-4)


SCHEDULES: dict[str, dict[str, object]] = {
    "constant": {"warmup": {"epochs": 1.5}},
    "step": {"every": 2, "gamma": 0.5},
    "multi_step": {"milestones": [1, 2], "gamma": 0.5},
    "exponential": {"gamma": 0.9, "per": "step"},
    "inverse": {"rate": 0.5, "warmup": {"steps": 7}},
    "inverse_sqrt": {},
    "cosine": {"per": "step", "warmup": {"epochs": 1, "start": 0.1}},
    "cyclic": {},
    "plateau": {"patience": 0, "threshold": 0.5},
    "newbob": {"threshold": 0.5},
    "one_cycle": {"three_phase": True},
}


@pytest.mark.parametrize("name", sorted(Schedule.registered))
def test_a_schedule_is_drawn_as_planned_and_as_it_ran(name: str, train: Train) -> None:
    path = train(
        data={"source": "moons"},
        model=MLP,
        schedule={"name": name, **SCHEDULES[name]},
        training={"epochs": 4, "batch_size": 64},
    )
    members = members_of(path)
    ran, history = as_ran(members), members[0].history()
    assert not ran.notes
    per_epoch = history["step"][0]
    last = np.searchsorted(ran.epochs, (history["step"] - 1) / per_epoch)
    np.testing.assert_allclose(ran.values["learning rate"][0, last], history["lr"], rtol=1e-6)
    plan = planned(read_experiment(RunDir(path)), int(per_epoch))
    np.testing.assert_array_equal(plan.epochs, ran.epochs)
    if name in ("newbob", "plateau"):
        assert history["lr"][-1] < history["lr"][0]  # it had something to react to
        assert "reacts to what is measured" in plan.notes[0]
        assert len(set(plan.values["learning rate"])) == 1
        return
    assert not plan.notes
    for course in ran.values:
        np.testing.assert_allclose(plan.values[course], ran.values[course][0])


@pytest.mark.parametrize("model", [MLP, {**MLP, "batch_norm": True}])
def test_training_of_less_than_an_epoch_is_drawn_as_planned(
    model: dict[str, object], train: Train
) -> None:
    path = train(
        data={"source": "moons", "subset": 121},
        model=model,
        schedule="one_cycle",
        training={"steps": 7, "batch_size": 8},
    )
    whole = 15 if "batch_norm" in model else 16  # a last batch of one example joins its neighbour
    ran, plan = as_ran(members_of(path)), planned(read_experiment(RunDir(path)), whole)
    np.testing.assert_array_equal(ran.epochs, np.arange(7) / whole)
    for course, expected in plan.values.items():
        np.testing.assert_allclose(ran.values[course][0], expected)


def test_a_group_has_a_line_for_each_course(train: Train) -> None:
    path = train("--seeds", "2", data={"source": "moons"}, model=MLP, schedule="newbob")
    course = as_ran(members_of(path))
    assert course.values["learning rate"].shape == (2, len(course.epochs))


def test_filters_are_the_units_weights(digits: Path) -> None:
    weights = RunDir(digits).read_tensors("model.safetensors")
    first = next(value for name, value in weights.items() if value.shape == (64, 4))
    np.testing.assert_array_equal(first_filters(RunDir(digits))[2, 0], first[:, 2].reshape(8, 8))


def test_plane_agrees_with_the_predictions(moons: Path) -> None:
    points, targets, names, classes = plane_points(moons, "test", None)
    assert len(points) == len(targets)
    assert len(names) == 2
    assert classes is not None
    x, y = points[0]
    _, _, answers = plane(moons, (x, x + 1, y, y + 1), points=2)
    for run, answer in zip(members_of(moons), answers, strict=True):
        assert str(classes[answer[0, 0].argmax()]) == run.predictions("test").texts("prediction")[0]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_examples_with_a_gap_have_no_place_on_the_plane(
    task: str, train: Train, tmp_path: Path
) -> None:
    cells = [("" if i % 5 == 0 else i, "" if i % 7 == 3 else i % 9, i % 2) for i in range(80)]
    rows = [",".join(map(str, row)) for row in cells]
    (tmp_path / "gaps.csv").write_text("\n".join(["a,b,y", *rows]))
    source = {"name": "csv", "path": str(tmp_path / "gaps.csv"), "target": "y", "target_type": task}
    path = train(data={"source": source}, preprocessing=["impute", "standardize"], model=MLP)
    points, targets, *_ = plane_points(path, "train", None)
    counts = RunDir(path).read_manifest()["split"]["counts"]
    assert 0 < len(points) == len(targets) < counts["train"]
    assert np.isfinite(points).all()
    picture = tmp_path / "a.png"
    assert run_command(["plot", "boundary", str(path), "-o", str(picture)]) == 0
    page = tmp_path / "a.html"
    assert run_command(["report", str(path), "-o", str(page)]) == 0
    assert "decision boundary" in page.read_text()
    assert "nan" not in page.read_text().partition("decision boundary")[2].partition("</svg>")[0]
