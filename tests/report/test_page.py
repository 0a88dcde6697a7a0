"""Reports: well-formed, self-contained, escaped, small, and with the right numbers in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from nnexp.analysis.results import Result, read_result
from nnexp.cli.app import run as run_command
from nnexp.errors import DamagedRun, UsageError
from nnexp.report.figures.curves import mean_interval
from nnexp.report.html import charts, class_charts, evidence
from nnexp.report.html import layers as layers_page
from nnexp.report.html.config_table import merged
from nnexp.report.html.markup import Html, page, tag
from nnexp.report.html.page import report, write_report
from nnexp.report.html.svg import scale_of
from nnexp.report.numbers import interval, spread, value
from nnexp.stats import describe

CLASSES = ("<script>alert(1)</script>", 'a&b"c', "plain")
CONFIG = """\
name: "<b>bold</b> & co"
data: {{source: {{name: csv, path: data.csv, target: kind}}}}
model: {{name: mlp, hidden: [4]}}
optimizer: {{name: adam, lr: {lr}}}
schedule: one_cycle
metrics: [accuracy, calibration_error]
training: {{epochs: 4, batch_size: 16}}
"""
REGRESSION = """\
name: values
data: {source: {name: csv, path: data.csv, target: x}}
model: {name: mlp, hidden: [3]}
training: {epochs: 2, batch_size: 32}
"""

DIVERGING = """\
name: bad
data: {source: {name: csv, path: data.csv, target: kind}}
model: {name: mlp, hidden: [8, 8, 8, 8]}
loss: squared_hinge
optimizer: {name: sgd, lr: 1000}
training: {epochs: 4, batch_size: 16}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data whose class names are markup."""
    path = tmp_path_factory.mktemp("report")
    draw = np.random.default_rng(0)
    kinds = draw.integers(3, size=150)
    places = kinds[:, None] + draw.normal(size=(150, 2))
    quoted = ['"' + name.replace('"', '""') + '"' for name in CLASSES]
    rows = [f"{x:.3f},{y:.3f},{quoted[k]}" for (x, y), k in zip(places, kinds, strict=True)]
    (path / "data.csv").write_text("\n".join(["x,y,kind", *rows]) + "\n")
    return path


def train(root: Path, name: str, config: str, *options: str) -> Path:
    (root / f"{name}.yaml").write_text(config)
    out = root / name
    command = ["train", str(root / f"{name}.yaml"), "--out", str(out), "--quiet", *options]
    assert run_command(command) == 0
    return next(out.glob("*/*"))


@pytest.fixture(scope="module")
def group(root: Path) -> Path:
    return train(root, "group", CONFIG.format(lr=0.01), "--seeds", "3")


@pytest.fixture(scope="module")
def other(root: Path) -> Path:
    return train(root, "other", CONFIG.format(lr=0.1), "--seeds", "3")


@pytest.fixture(scope="module")
def values(root: Path) -> Path:
    return train(root, "values", REGRESSION)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of 4 trials, written by hand."""
    search = {"optimizer.lr": {"log_uniform": {"range": [0.001, 1.0]}}, "model.<i>": {}}
    asked = {"search": search, "method": {"name": "random"}, "trials": 4, "seeds": 1, "arms": {}}
    state = {
        "kind": "sweep",
        "status": "finished",
        "name": "<u>s</u>",
        "created": "2026-01-01T00:00:00+00:00",
        "sweep": asked,
        "metric": "dev/accuracy",
        "higher_is_better": True,
        "scales": {"optimizer.lr": "log"},
    }
    summary = {
        "metric": "dev/accuracy",
        "higher_is_better": True,
        "best": {"trial": 2, "score": 0.91, "values": {}},
        "importance": {"optimizer.lr": 0.75, "schedule[step].gamma": 0.25},
        "fresh": {
            "seeds": 5,
            "test": {"mean": 0.875, "interval": [0.8, 0.95]},
            "selection_bias": 0.035,
        },
    }
    rows = ["trial,state,dev/accuracy,optimizer.lr,model.<i>,epochs,seconds"]
    rows += ["0,finished,0.5,0.001,<b>,5,0.1", "1,diverged,,0.9,,2,0.1"]
    rows += ["2,finished,0.91,0.1,relu,5,0.1", "3,pruned,0.4,0.01,relu,1,0.1"]
    path = tmp_path / "sweep"
    path.mkdir()
    (path / "sweep.json").write_text(json.dumps(state))
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "trials.csv").write_text("\n".join(rows) + "\n")
    (path / "config.yaml").write_text("name: <u>s</u>\n")
    return path


def parsed(text: str) -> ElementTree.Element:
    """The page, which is XML as well; checked to need nothing but itself."""
    found = ElementTree.fromstring(text)
    names = {element.tag for element in found.iter()}
    assert not names & {"script", "link", "iframe", "object", "embed", "use", "a", "base", "form"}
    for element in found.iter():
        for key, given in element.attrib.items():
            assert key[:2] != "on"
            if key in ("href", "src", "srcset"):
                assert given.startswith("data:image/png;base64,")
    assert not re.search(r"https?:|url\(|@import", text)
    return found


def words(element: ElementTree.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def sections(text: str) -> dict[str, str]:
    """What stands below each heading."""
    return {
        words(part.find("h2")): words(part)  # type: ignore[arg-type]
        for part in parsed(text).iter("section")
    }


# -- whole pages -----------------------------------------------------------------------------------


def test_a_group_has_every_section(group: Path) -> None:
    text = report([group])
    found = sections(text)
    assert list(found) == [
        "Scores",
        "Diagnosis",
        "Training",
        "What it has learnt",
        "Config",
        "Origin",
    ]
    assert "<b>bold</b> & co" in words(parsed(text))
    assert all(name in found["What it has learnt"] for name in ("plain", 'a&b"c', "<script>alert"))
    told = json.loads((group / "summary.json").read_text())["test"]["accuracy"]
    assert f"{spread(told)} {interval(told['interval'])}" in found["Scores"]
    assert len(text) < 3_000_000


def test_recorded_layers_have_a_section(group: Path, tmp_path: Path) -> None:
    path = tmp_path / "group"
    shutil.copytree(group, path)
    (path / "s0/health.csv").write_text("epoch,step,layer,mean\n2,2,0.linear,1\n4,4,0.linear,2\n")
    found = list(sections(report([path])))
    assert found[found.index("Layers over time") - 1] == "What it has learnt"


def test_a_run_and_a_regression(group: Path, values: Path) -> None:
    assert "4 epochs" in sections(report([group / "s0"]))["Scores"]
    found = sections(report([values]))
    assert "true − predicted" in found["What it has learnt"]
    assert "rmse" in found["Training"]
    assert "constant: learning rate 0.001" in found["Training"]


def test_a_comparison_has_the_verdict_and_marks_what_differs(group: Path, other: Path) -> None:
    text = report([group, other], margin=0.5)
    found = sections(text)
    assert list(found)[:5] == ["Verdict", "What differs", "Scores", "Is it fair?", "Cost"]
    assert "equivalent within the margin of 0.5" in found["Verdict"]
    config = next(s for s in parsed(text).iter("section") if words(s).startswith("What differs"))
    marked = {words(mark) for mark in config.iter("mark")}
    assert marked == {"0.01", "0.1"}


def test_a_sweep_shows_its_trials(sweep: Path) -> None:
    text = report([sweep])
    found = sections(text)
    assert "2 finished, 1 pruned, 1 diverged" in found["Best trials"]
    assert "0.8750 0.80 to 0.95" in found["Best trials"]
    assert "schedule.gamma 25%" in found["What mattered"]
    assert "log_uniform 0.001 to 1" in found["What was searched"]
    titles = [words(title) for title in parsed(text).iter("title")]
    assert titles.count("trial 2: dev/accuracy 0.91") == 1
    assert "<u>s</u>" in found["Config"]


def test_a_sweep_without_a_score(sweep: Path) -> None:
    (sweep / "trials.csv").write_text("trial,state,dev/accuracy,lr\n0,diverged,,0.1\n")
    (sweep / "summary.json").unlink()
    assert "No trial has a score." in sections(report([sweep]))["Best trials"]
    (sweep / "trials.csv").write_text("trial,dev/accuracy\n0,1\n")
    with pytest.raises(DamagedRun, match="no column 'state'"):
        report([sweep])
    (sweep / "trials.csv").unlink()
    assert "none yet" in sections(report([sweep]))["Trials"]


def test_a_diverged_run(root: Path) -> None:
    (root / "bad.yaml").write_text(DIVERGING)
    command = ["train", str(root / "bad.yaml"), "--out", str(root / "bad"), "--quiet"]
    assert run_command(command) == 4
    found = sections(report([next((root / "bad").glob("*/*"))]))
    assert "The run diverged." in found["Scores"]


def test_the_command_writes_the_page(group: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert run_command(["report", str(group), "-o", str(out)]) == 0
    parsed(out.read_text())


@pytest.mark.parametrize(
    ("name", "told"), [("page.pdf", "should end in .html"), ("no/page.html", "there is no folder")]
)
def test_where_it_can_not_be_written(group: Path, tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        write_report([group], tmp_path / name)


def test_what_can_not_stand_on_one_page(group: Path, sweep: Path, values: Path) -> None:
    with pytest.raises(UsageError, match="give it alone"):
        report([group, sweep])
    with pytest.raises(UsageError, match="at least two runs"):
        report([group], metric="loss")
    with pytest.raises(UsageError, match="either runs or groups"):
        report([group, values])
    assert run_command(["report", str(sweep / "nothing")]) == 3


def test_an_ablation_has_its_effects(tmp_path: Path) -> None:
    state = {"kind": "sweep", "status": "finished", "name": "a", "ablation": {"cells": []}}
    effect = {"label": "<i>", "difference": 0.5, "interval": [0.25, 0.75], "p_adjusted": 0.001}
    score = {"mean": 0.9, "sd": None, "interval": None, "n": 1}
    summary = {
        "split": "test",
        "metric": "accuracy",
        "higher_is_better": True,
        "effects": [effect | {"verdict": "helps"}],
        "cells": [{"label": "all", "score": score}],
        "notes": ["a note"],
    }
    (tmp_path / "sweep.json").write_text(json.dumps(state))
    assert "no results yet" in words(parsed(report([tmp_path])))
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    found = sections(report([tmp_path]))
    told = "<i> +0.5 0.25 to 0.75 0.001 helps"
    assert told in found["What each part contributes"]
    assert "all 0.9000" in found["Cells"]


# -- escaping --------------------------------------------------------------------------------------


def test_text_is_escaped_and_html_is_not() -> None:
    inner = tag("b", "1 < 2 & 3")
    assert inner == "<b>1 &lt; 2 &amp; 3</b>"
    assert tag("p", inner, None, '"x"', title='a"b<c') == (
        '<p title="a&quot;b&lt;c"><b>1 &lt; 2 &amp; 3</b>&quot;x&quot;</p>'
    )
    assert tag("br") == "<br/>"
    assert tag("meta", name="x", aria_label=1.5, class_=None) == '<meta name="x" aria-label="1.5"/>'


def test_control_characters_are_replaced() -> None:
    text = page("a\x00\x1b[31m\u202e", tag("p", "b\x07\nc"))
    assert words(parsed(text)).endswith("b\N{REPLACEMENT CHARACTER} c")
    assert isinstance(tag("p"), Html)


# -- the numbers -----------------------------------------------------------------------------------


def test_mean_and_interval_are_those_of_describe() -> None:
    values = np.random.default_rng(1).normal(size=(6, 4))
    values[2:, 1] = np.nan
    values[1:, 2] = np.nan
    values[:, 3] = np.nan
    for column, m, *ends in zip(values.T, *mean_interval(values), strict=True):
        told = describe(column.tolist())
        assert (told["mean"] is None) == np.isnan(m)
        if told["interval"] is None:
            assert np.isnan(ends).all()
        else:
            np.testing.assert_allclose(ends, told["interval"], rtol=1e-12)


def test_confusion_and_confidence_are_those_of_scikit_learn_and_torch(group: Path) -> None:
    from sklearn.metrics import confusion_matrix

    run = read_result(group).runs[0]
    found = evidence.classified(run, "test")
    assert found is not None
    rows = run.predictions("test")
    told = confusion_matrix(rows.texts("target"), rows.texts("prediction"), labels=found.classes)
    np.testing.assert_array_equal(found.counts, told)
    header, *lines = (run.path / "predictions.csv").read_text().splitlines()
    assert header.endswith("output_0,output_1,output_2")
    outputs = [list(map(float, x.split(",")[-3:])) for x in lines if x.startswith("test,")]
    likely = torch.softmax(torch.tensor(outputs, dtype=torch.float64), 1).amax(1)
    assert found.sureness is not None
    np.testing.assert_allclose(found.sureness[0], likely.numpy(), rtol=1e-6)
    card = class_charts.reliability([found.sureness], "")
    assert f"calibration error {value(run.value('test', 'calibration_error'))}" in card


def test_the_momentum_is_that_of_torch(group: Path) -> None:
    run = read_result(group).runs[0]
    columns = evidence.history(run)
    steps = columns["step"].astype(int)
    adam = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=0.01, total_steps=int(steps[-1]))
    course = []
    for _ in range(steps[-1]):
        course.append(adam.param_groups[0]["betas"][0])
        adam.step()
        if len(course) < steps[-1]:
            schedule.step()
    np.testing.assert_allclose(columns["beta1"], np.array(course)[steps - 1], rtol=1e-12)


def test_the_momentum_of_less_than_an_epoch_is_not_told(root: Path) -> None:
    config = CONFIG.format(lr=0.01).replace("epochs: 4", "steps: 3")
    columns = evidence.history(read_result(train(root, "short", config)))
    assert columns["step"].tolist() == [3]
    assert "beta1" not in columns


def test_labels_are_counted(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(
        "split,id,target_0,target_1,prediction_0,prediction_1,loss\n"
        "test,0,1,0,1,0,0.1\ntest,1,1,1,0,1,0.1\ntest,2,0,1,0,0,0.1\ndev,3,0,0,1,1,0.1\n"
    )
    (tmp_path / "preprocessing.json").write_text('{"target_names": ["twice", "twice"]}')
    run = Result(tmp_path, "run", {"status": "finished"})
    run.__dict__["summary"] = {"task": "multilabel"}
    counts = evidence.labelled(run, "test")
    np.testing.assert_array_equal(counts["target 0"], [[1, 0], [1, 1]])
    np.testing.assert_array_equal(counts["target 1"], [[1, 0], [1, 1]])
    text = words(ElementTree.fromstring(class_charts.by_label(counts, "labels")))
    assert "target 0 1.0000 0.5000 0.6667 66.7%" in text


def test_health_is_averaged_over_members(tmp_path: Path) -> None:
    members = []
    for number, x in enumerate((1.0, 3.0)):
        folder = tmp_path / f"s{number}"
        folder.mkdir()
        rows = f"epoch,step,layer,mean,zero\n5,50,0.<b>,{x},\n10,100,0.<b>,{2 * x},0.5\n"
        (folder / "health.csv").write_text(rows)
        members.append(Result(folder, "run", {}))
    (tmp_path / "s2").mkdir()
    (tmp_path / "s2/health.csv").write_text("epoch,layer,mean\n5,0.<b>,1e30\n")
    members.append(Result(tmp_path / "s2", "run", {"status": "diverged"}))
    assert evidence.health(members[2])[1]["mean"]["0.<b>"].tolist() == [1e30]
    group = Result(tmp_path, "group", {}, tuple(members))
    epochs, found = evidence.health(group)
    assert epochs.tolist() == [5, 10]
    assert found["mean"]["0.<b>"].tolist() == [2, 4]
    np.testing.assert_array_equal(found["zero"]["0.<b>"], [np.nan, 0.5])
    ElementTree.fromstring(layers_page.line_chart("zero", epochs, found["zero"]))
    (tmp_path / "s0" / "health.csv").write_text("epoch,step\n1,2\n")
    with pytest.raises(DamagedRun, match="columns epoch, a number, and layer"):
        evidence.health(group)
    (tmp_path / "s0" / "health.csv").write_text("epoch,layer,mean\n1,a,x\n")
    with pytest.raises(DamagedRun, match="there should be a number"):
        evidence.health(group)


def test_configs_are_merged_key_by_key() -> None:
    first = {"a": {"name": "x", "k": 1}, "steps": [{"name": "p"}], "none": None, "empty": {}}
    second = {"a": {"name": "y"}, "steps": [{"name": "p"}, {"name": "q"}], "none": None}
    rows = {row.path: row.values for row in merged([first, second])}
    assert rows == {
        "a.name": ("x", "y"),
        "a.k": ("1", "–"),
        "steps.0.name": ("p", "p"),
        "steps.1.name": ("–", "q"),
    }


# -- drawing ---------------------------------------------------------------------------------------


def numbers_of(text: str) -> Iterator[float]:
    for d in re.findall(r' d="([^"]+)"', text):
        yield from map(float, re.findall(r"-?[0-9.]+", d))


def test_many_long_curves_stay_small() -> None:
    draw = np.random.default_rng(0)
    history = {"epoch": np.arange(1.0, 3001), "dev/loss": np.zeros(3000)}
    many = [
        history | {f"{s}/loss": draw.random(3000) for s in ("train", "dev")} for _ in range(300)
    ]
    text = charts.curves({"": many}, "loss")
    ElementTree.fromstring(text)
    assert 10_000 < len(text) < 500_000


def test_gaps_and_extremes_are_drawn_within_the_picture() -> None:
    members = [
        {"epoch": np.arange(1.0, 6), "dev/loss": np.array([1.0, np.nan, 1e-9, np.inf, 50.0])},
        {"epoch": np.arange(1.0, 4), "dev/loss": np.array([2.0, 3.0, 1e6])},
    ]
    text = charts.curves({"": members}, "loss")
    ElementTree.fromstring(text)
    found = list(numbers_of(text))
    assert found
    assert all(0 <= x <= 420 for x in found)
    assert charts.curves({"": members}, "accuracy") == ""


@pytest.mark.parametrize(
    ("values", "scale"),
    [([], "linear"), ([0.0, 0.0], "linear"), ([3.0], "linear"), ([1e-3, 1.0], "log")],
)
def test_every_value_has_a_place_on_its_scale(values: list[float], scale: str) -> None:
    axis = scale_of(values)
    assert axis.scale == scale
    assert axis.low < axis.high
    assert all(0 <= axis.at(x) <= 1 for x in values)


def test_many_classes_become_a_list_of_pairs() -> None:
    counts = np.eye(40) * 5
    counts[3, 7] = 4
    text = class_charts.confusion(counts, [f"c{i}" for i in range(40)], "many")
    assert "c3 c7 4" in words(ElementTree.fromstring(text))
    assert text.count("<tr>") == 2
