"""Define, compile, fit, evaluate, predict, compare: the same numbers as the command line's."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_iris

import nnexp
from nnexp.api.progress import Line
from nnexp.config.load import load_config
from nnexp.errors import (
    ConfigError,
    DataError,
    Diverged,
    Interrupted,
    NnexpError,
    RunError,
    UsageError,
)
from nnexp.runs.execute import Order, Reporter, start
from nnexp.runs.rundir import RunDir
from nnexp.runs.score import evaluate_run
from nnexp.train.state import TrainState

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SAME = ("metrics.csv", "predictions.csv", "model.safetensors", "summary.json")
IRIS = load_iris(as_frame=True)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def small() -> nnexp.Model:
    return nnexp.Model("mlp", hidden=[6]).compile(optimizer={"name": "adam", "lr": 0.01})


def by_command_line(path: Path, out: Path, seeds: int | None = None, *changes: str) -> RunDir:
    """What `nnexp train` does."""
    config = load_config(path, list(changes))
    order = Order(config.experiment, config.text, path.parent, seeds, overrides=config.overrides)
    return start(order, out, Reporter())


def assert_same(run: nnexp.Run, other: RunDir, *but: str) -> None:
    """To the bit."""
    pairs = zip(run.members, other.members() or [other], strict=True)
    for one, two in pairs:
        for name in SAME:
            if name not in but:
                assert (one.path / name).read_bytes() == (two.path / name).read_bytes(), name


# -- the same numbers ------------------------------------------------------------------------------


def test_a_config_gives_what_the_command_line_gives(tmp_path: Path) -> None:
    path = CONFIGS / "iris.yaml"
    run = nnexp.fit(path, seeds=2, out=tmp_path / "a", set={"training.epochs": 3})
    other = by_command_line(path, tmp_path / "b", 2, "training.epochs=3")
    assert_same(run, other)
    assert (run.path / "config.yaml").read_bytes() == path.read_bytes()
    assert (run.path / "resolved.yaml").read_bytes() == other.resolved.read_bytes()
    assert RunDir(run.path).read_manifest()["overrides"] == ["training.epochs=3"]
    assert run.path.parent == tmp_path / "a" / "iris"


def test_text_and_mappings_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = "name: c\ndata: {source: iris}\nmodel: {name: mlp, hidden: [4]}\ntraining: {epochs: 2}\n"
    path.write_text(text)
    other = by_command_line(path, tmp_path)
    mapping = {
        "name": "c",
        "data": {"source": "iris"},
        "model": {"name": "mlp", "hidden": (np.int64(4),)},
        "training": {"epochs": np.array(2)},
    }
    for config in (text, str(path), path, mapping):
        run = nnexp.fit(config, out=tmp_path)
        assert_same(run, other)
        assert not run.is_group
    assert_same(nnexp.experiment(mapping).fit(out=tmp_path), other)


def test_arrays_give_what_the_builtin_set_gives(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        "data: {source: digits, split: {train: 0.2, dev: 0.1, test: 0.1}}\n"
        "model: {name: cnn, channels: [3], hidden: [6]}\ntraining: {epochs: 2}\n"
    )
    digits = load_digits()
    images, split = digits.images.astype(np.uint8), {"train": 0.2, "dev": 0.1, "test": 0.1}
    run = nnexp.Model("cnn", channels=[3], hidden=[6]).fit(
        images, digits.target, epochs=2, split=split, seeds=2, out=tmp_path
    )
    assert_same(run, by_command_line(path, tmp_path, 2))


def test_a_frame_gives_what_its_file_gives(tmp_path: Path) -> None:
    """Text, dates, gaps, an id: configs/flats.yaml."""
    path = CONFIGS / "flats.yaml"
    other = by_command_line(path, tmp_path, None, "training.epochs=2")
    config = nnexp.experiment(path).config
    flats = pd.read_csv(CONFIGS / "data" / "flats.csv", na_values=["?"])
    model = nnexp.Model(config["model"]).compile(
        **{key: config[key] for key in ("preprocessing", "optimizer", "schedule")}
    )
    settings = {**config["training"], "epochs": 2, "split": config["data"]["split"]}
    run = model.fit(flats, target="rent", id="id", out=tmp_path, **settings)
    assert_same(run, other)
    again = nnexp.experiment(path).fit(flats, "rent", id="id", epochs=2, out=tmp_path)
    assert_same(again, other)


def test_other_forms_of_the_same_data_give_the_same(tmp_path: Path) -> None:
    X, y = IRIS.data, IRIS.target
    reference = small().fit(X, y, epochs=2, out=tmp_path)
    other = RunDir(reference.path)
    whole = X.assign(target=y)
    forms: list[tuple[Any, Any]] = [
        (X.to_dict("list"), list(y)),
        (X, y.to_frame()),
        (X, y.to_numpy()[:, None]),
        (X.to_dict("records"), y.to_numpy()),
        (whole, "target"),
        (X.astype(object), y),
    ]
    for inputs, answers in forms:
        assert_same(small().fit(inputs, answers, epochs=2, out=tmp_path), other)
    for inputs in (X.to_numpy(), torch.tensor(X.to_numpy()), X.to_numpy().tolist()):
        run = small().fit(inputs, torch.tensor(y.to_numpy()), epochs=2, out=tmp_path)
        assert_same(run, other)


# -- what a run gives ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> nnexp.Run:
    torch.set_num_threads(1)
    return small().fit(
        IRIS.data, IRIS.target_names[IRIS.target], epochs=4, seeds=3, name="flowers",
        out=tmp_path_factory.mktemp("runs"),
    )  # fmt: skip


def test_a_run_tells_what_it_is(group: nnexp.Run) -> None:
    assert (group.name, group.status, group.is_group) == ("flowers", "finished", True)
    assert len(group.members) == 3
    assert [member.is_group for member in group.members] == [False] * 3
    assert group.config["optimizer"]["lr"] == 0.01
    assert group.config["data"]["source"]["what"] == "a DataFrame of 150 rows and 5 columns"
    assert group.summary["members"] == 3
    assert os.fspath(group) == str(group.path)
    assert nnexp.load(group).path == group.path
    assert nnexp.load(group.path).name == nnexp.load(str(group.path)).name == "flowers"


def test_scores_and_history_are_frames(group: nnexp.Run) -> None:
    summary = json.loads((group.path / "summary.json").read_text())
    accuracy = summary["test"]["accuracy"]
    assert group.scores.loc["accuracy", ("test", "mean")] == accuracy["mean"]
    assert group.scores.loc["accuracy", ("test", "high")] == accuracy["interval"][1]
    assert group.history.index.names == ["model", "epoch"]
    assert len(group.history) == 12
    one = group.members[1]
    pd.testing.assert_frame_equal(group.history.loc["s1"], one.history)
    assert one.history.index.tolist() == [1, 2, 3, 4]
    assert one.scores.loc["accuracy", "dev"] == one.summary["dev"]["accuracy"]
    assert one.history["dev/loss"].iloc[-1] == pytest.approx(
        one.scores.loc["loss", "dev"], rel=1e-5
    )


def test_predictions_are_a_frame_with_the_classes_names(group: nnexp.Run) -> None:
    found = group.members[0].predictions
    assert set(found["split"]) == {"dev", "test"}
    assert set(found["target"]) == set(IRIS.target_names)
    hits = (found["target"] == found["prediction"])[found["split"] == "test"]
    assert hits.mean() == pytest.approx(group.members[0].scores.loc["accuracy", "test"])
    assert group.predictions["model"].unique().tolist() == ["s0", "s1", "s2"]
    assert len(group.predictions) == 3 * len(found)


def test_it_is_scored_on_new_data(group: nnexp.Run, tmp_path: Path) -> None:
    names = IRIS.target_names[IRIS.target]
    found = group.evaluate(IRIS.data, names)
    assert found.index.tolist() == ["s0", "s1", "s2"]
    more = IRIS.data.assign(target=names, more=1)
    with pytest.warns(UserWarning, match="training did not have are ignored: more") as warned:
        pd.testing.assert_frame_equal(group.evaluate(more), found)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    whole = more.drop(columns="more")
    reverse = whole[whole.columns[::-1]]
    pd.testing.assert_frame_equal(group.evaluate(reverse), found)
    pd.testing.assert_frame_equal(group.evaluate(IRIS.data.to_numpy(), names), found)
    pd.testing.assert_frame_equal(group.evaluate(whole, names), found)
    whole.to_csv(tmp_path / "new.csv", index=False)
    by_file = evaluate_run(group.path, data=tmp_path / "new.csv")
    assert [scores.metrics for scores in by_file] == found.to_dict("records")
    pd.testing.assert_frame_equal(group.evaluate(tmp_path / "new.csv"), found)
    with pytest.raises(UsageError, match="takes no y with one"):
        group.evaluate(str(tmp_path / "new.csv"), names)
    some = group.members[0].predictions.query("split == 'test'")["id"]
    part = group.members[0].evaluate(IRIS.data.loc[some], names[some])
    assert part["accuracy"].item() == group.members[0].scores.loc["accuracy", "test"]


def test_without_data_it_tells_the_scores_of_its_own_splits(group: nnexp.Run) -> None:
    own = group.evaluate(split="dev")
    assert own["loss"].mean() == pytest.approx(group.scores.loc["loss", ("dev", "mean")])
    with pytest.raises(UsageError, match="has no tset split; it has train, dev, test"):
        group.evaluate(split="tset")


def test_the_command_line_says_that_the_data_are_gone(group: nnexp.Run) -> None:
    with pytest.raises(DataError, match=r"handed over in Python .* in no file"):
        evaluate_run(group.path)
    resolved = (group.path / "s0" / "resolved.yaml").read_text()
    assert "name: memory\n" in resolved
    assert "what: a DataFrame of 150 rows and 5 columns" in resolved
    assert "handed over" in (group.path / "config.yaml").read_text()


def test_a_run_from_a_file_is_scored_on_a_frame(tmp_path: Path) -> None:
    """Columns of text, dates, gaps and an id, as the file's source reads them."""
    run = nnexp.fit(CONFIGS / "flats.yaml", out=tmp_path, set={"training.epochs": 2})
    flats = pd.read_csv(CONFIGS / "data" / "flats.csv", na_values=["?"])
    (by_file,) = evaluate_run(run.path, data=CONFIGS / "data" / "flats.csv")
    found = run.evaluate(flats)
    assert found.iloc[0].to_dict() == pytest.approx(by_file.metrics)
    assert run.evaluate(flats.drop(columns="id")).equals(found)
    apart = run.evaluate(flats.drop(columns=["id", "rent"]), flats["rent"])
    assert apart.equals(found)


def test_regression_and_several_targets(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    run = nnexp.Model("linear").fit(X, y, epochs=2, out=tmp_path)
    assert run.summary["task"] == "regression"
    several = y.to_frame("one").assign(two=2 * y)
    both = nnexp.Model("linear").fit(X, several, epochs=2, out=tmp_path)
    assert both.config["data"]["source"]["target"] == ["one", "two"]
    named = X.join(several)
    again = nnexp.Model("linear").fit(named, target=["one", "two"], epochs=2, out=tmp_path)
    assert_same(both, RunDir(again.path))
    pd.testing.assert_frame_equal(both.evaluate(X, several.to_numpy()), both.evaluate(named))
    labels = X.gt(X.median()).astype(int).iloc[:, :3].to_numpy()
    marked = nnexp.Model("linear").fit(X.to_numpy(), labels, epochs=1, out=tmp_path)
    assert marked.summary["task"] == "multilabel"


def test_dev_and_test_may_be_handed_over(tmp_path: Path) -> None:
    X, y = IRIS.data, IRIS.target
    dev, test = (X[100:120], y[100:120]), (X[120:], y[120:])
    run = small().fit(X[:120], y[:120], test=test, epochs=1, out=tmp_path)
    found = run.predictions.query("split == 'test'")
    assert found["id"].tolist() == list(range(120, 150))
    both = small().fit(X[:100], y[:100], dev=dev, test=test, epochs=1, out=tmp_path)
    counts = RunDir(both.path).read_manifest()["split"]["counts"]
    assert counts == {"train": 100, "dev": 20, "test": 30}
    stopping = {"patience": 0}
    for split in ({}, {"split": {"train": 0.7, "test": 0.3}}):
        stopped = small().fit(
            X[:120], y[:120], dev=test, epochs=3, early_stopping=stopping, out=tmp_path, **split
        )
        assert stopped.evaluate(X, y).shape == (1, 3)
    with pytest.raises(DataError, match="the source brings its own dev part"):
        small().fit(X[:120], y[:120], dev=test, split={"dev": 0.5}, out=tmp_path)
    frame = X.assign(kind=y)
    named = small().fit(frame[:120], target="kind", test=frame[120:], epochs=1, out=tmp_path)
    pd.testing.assert_frame_equal(named.scores, run.scores)
    rows, codes = X.to_numpy(), y.to_numpy()
    later = (rows[120:], codes[120:])
    plain = small().fit(rows[:120], codes[:120], test=later, epochs=1, out=tmp_path)
    pd.testing.assert_frame_equal(plain.scores, run.scores)
    with pytest.raises(DataError, match="same kind as X: all tables, or all arrays"):
        small().fit(rows[:120], codes[:120], test=test, epochs=1, out=tmp_path)


def test_an_index_names_the_examples(tmp_path: Path) -> None:
    X = IRIS.data.set_axis([f"flower {i}" for i in range(150)])
    run = small().fit(X, IRIS.target, epochs=1, out=tmp_path)
    assert run.predictions["id"].str.fullmatch(r"flower \d+").all()


def test_classes_are_called_as_in_the_data(tmp_path: Path) -> None:
    """Numbers are numbers again, text is text even if it looks like numbers."""
    X, codes = IRIS.data, IRIS.target.to_numpy()
    forms: list[tuple[Any, Any]] = [
        (X, IRIS.target),
        (X.to_numpy(), codes),
        (X, codes + 7.5),
        (X, codes.astype(str)),
        (X.to_numpy(), codes.astype(str)),
        (X, pd.Series(codes.astype(str)).astype("category")),
        (X, IRIS.target_names[codes]),
    ]
    for inputs, y in forms:
        run = nnexp.Model("linear").fit(inputs, y, epochs=20, out=tmp_path, task="classification")
        found = run.predict(inputs)["prediction"]
        assert (found == np.asarray(y)).mean() > 0.5
        own = run.predictions
        assert (own["target"].to_numpy() == np.asarray(y)[own["id"]]).all()
        assert set(own["prediction"]) <= set(found)
    digits = nnexp.fit("data: {source: digits}\nmodel: linear\n", out=tmp_path)
    assert digits.predictions["prediction"].dtype == np.int64


def test_a_run_without_dev_and_test(tmp_path: Path) -> None:
    run = small().fit(IRIS.data, IRIS.target, split={"train": 1.0}, epochs=1, out=tmp_path)
    assert len(run.predictions) == 0
    assert run.scores.columns.tolist() == ["train"]
    assert "train" in repr(run)


def test_components_of_ones_own(tmp_path: Path) -> None:
    X, y = IRIS.data, IRIS.target
    with nnexp.plugged(CONFIGS / "plugins" / "extras.py"):
        model = nnexp.Model("mlp", hidden=[4], activation="squared_relu").compile(loss="focal")
        run = model.fit(X, y, epochs=1, out=tmp_path)
        assert np.isfinite(run.evaluate(X, y)["loss"].item())
    assert "there is no such activation" in told(lambda: nnexp.Model(activation="squared_relu"))
    with pytest.raises(RunError, match=r"needs 1 plugin that it was trained with: extras\.py"):
        run.evaluate(X, y)


# -- going on --------------------------------------------------------------------------------------


def test_it_trains_longer_and_gets_more_members(tmp_path: Path) -> None:
    X, y = IRIS.data, IRIS.target
    run = small().fit(X, y, epochs=2, seeds=1, out=tmp_path)
    longer = run.resume(epochs=4, seeds=2)
    whole = small().fit(X, y, epochs=4, seeds=2, out=tmp_path)
    for one, two in zip(longer.members, whole.members, strict=True):
        np.testing.assert_allclose(one.history, two.history, rtol=1e-4)
    same = nnexp.load(run.path).resume(X, y, epochs=4)
    assert same.notes == (f"{run.path} is finished; nothing was changed",)
    with pytest.raises(DataError, match="handed over in Python"):
        nnexp.load(run.path).resume(epochs=5)
    with pytest.raises(RunError, match="has changed since it was trained"):
        nnexp.load(run.path).resume(X[:-1], y[:-1], epochs=5)


def test_an_interrupted_fit_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = IRIS.data, IRIS.target

    def interrupt(_: Line, now: TrainState) -> None:
        if len(now.members[0].history) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Line, "epoch", interrupt)
        with pytest.raises(Interrupted, match=r"nnexp\.load\('.*/a/s/.*'\)\.resume\(X, y\)"):
            small().fit(X, y, epochs=4, seeds=2, out=tmp_path / "a", name="s")
    (path,) = (tmp_path / "a" / "s").iterdir()
    stopped = nnexp.load(path)
    assert stopped.status == "interrupted"
    assert "interrupted" in repr(stopped)
    whole = small().fit(X, y, epochs=4, seeds=2, out=tmp_path / "b", name="s")
    assert_same(stopped.resume(X, y), RunDir(whole.path))


# -- comparing -------------------------------------------------------------------------------------


def test_compare_says_what_the_command_line_says(group: nnexp.Run, tmp_path: Path) -> None:
    from nnexp.analysis.comparing.compare import compare

    names = IRIS.target_names[IRIS.target]
    slow = small().fit(
        IRIS.data, names, epochs=4, seeds=3, out=tmp_path, set={"optimizer.lr": 1e-5}
    )
    found = nnexp.compare(group, str(slow.path), metric="loss", margin=0.1)
    expected = compare([group.path, slow.path], "loss", 0.1)
    assert found.to_json() == expected.to_json()
    assert found.verdict == expected.pairs[0].verdict == "worse"
    assert found.sentence == expected.pairs[0].sentence
    assert found.sentence in repr(found)
    assert found.metrics.loc[("test", "loss"), "A"] == group.scores.loc["loss", ("test", "mean")]
    assert found.pairs.loc["B − A", "difference"] == expected.pairs[0].evidence.difference
    third = small().fit(IRIS.data, names, epochs=4, seeds=3, out=tmp_path, seed=9)
    several = nnexp.compare(group, slow, third, metric="loss")
    assert several.pairs.index.tolist() == ["B − A", "C − A", "C − B"]
    assert several.verdict.startswith("B − A: worse; C − A: ")
    with pytest.raises(UsageError, match="at least two"):
        nnexp.compare(group)
    with pytest.raises(RunError, match="there is no run"):
        nnexp.compare(group, tmp_path / "nothing")


# -- how it looks ----------------------------------------------------------------------------------


def test_text_and_html_say_the_same_and_hold_no_markup(tmp_path: Path) -> None:
    X = IRIS.data.rename(columns={"sepal length (cm)": "<script>alert(1)</script>"})
    name = "<b>bold</b>"
    runs = [small().fit(X, IRIS.target, epochs=1, name=name, out=tmp_path, seed=s) for s in (0, 1)]
    assert runs[0].notes
    assert "accuracy" in repr(runs[0])
    shown = [runs[0]._repr_html_(), nnexp.compare(*runs)._repr_html_(), small()._repr_html_()]
    for html in shown:
        assert "<script>" not in html
        assert "<b>bold</b>" not in html
        assert "color" not in html  # the page's own: light and dark
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown[0]
    assert runs[0].notes[0] in repr(runs[0])


def test_a_line_shows_how_far_training_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small().fit(IRIS.data, IRIS.target, epochs=3, out=tmp_path)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(Line, "EVERY", 0.0)
    small().fit(IRIS.data, IRIS.target, epochs=3, seeds=2, out=tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("\r2 models  epoch 1/3  dev/loss ")
    assert err.count("\n") == 1
    assert "epoch 3/3" in err.splitlines()[-1]
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    small().fit(IRIS.data, IRIS.target, epochs=2, out=tmp_path)
    out, err = capsys.readouterr()
    assert err == ""  # which notebooks show in red
    assert "epoch 2/2  dev/loss" in out


# -- what is wrong ---------------------------------------------------------------------------------


def told(call: Any, kind: type[NnexpError] = ConfigError) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_a_wrong_definition_is_told_where_it_is_written() -> None:
    text = told(lambda: nnexp.Model("mpl", hidden=[64]))
    assert "Model: model.name: there is no such model" in text
    assert "mlp" in text
    text = told(lambda: nnexp.Model("mlp", hiden=[64], dropout=2))
    assert "2 problems in the config" in text
    assert "Model: model.hiden" in text
    assert "hidden" in text
    assert "Model: model.dropout: should be below 1" in text
    model = small()
    text = told(lambda: model.compile(optimizer={"name": "adam", "lr": -1}, los="mse", seed=1.5))
    assert "3 problems in the config" in text
    assert "compile: optimizer.lr: should be above 0\n    received: -1" in text
    assert "did you mean loss" in text
    assert model.config == small().config  # as it was before
    assert "a config can't hold function values" in told(lambda: model.compile(loss=told))


def test_a_wrong_argument_of_fit_is_told(tmp_path: Path) -> None:
    def fit(**settings: Any) -> Any:
        return lambda: small().fit(IRIS.data, IRIS.target, out=tmp_path, **settings)

    text = told(fit(epoch=3, batch_size=0))
    assert "2 problems" in text
    assert "fit: training.epoch: " in text
    assert "did you mean epochs" in text
    assert "fit: training.batch_size" in text
    assert "did you mean split" in told(fit(splitt={"train": 0.5}))
    assert "fit: data.split" in told(fit(split={"train": 0.9, "dev": 0.2}))
    assert "optimizer.lr: should be above 0" in told(fit(set={"optimizer.lr": 0}))
    assert "optimizer.rate" in told(fit(set={"optimizer.rate": 1}))
    assert "while fit was given X" in told(fit(set={"data.source": "iris"}), UsageError)
    assert "dev=(X, y)" in told(fit(validation_data=(1, 2)), UsageError)
    for wrong in (0, -1, 1.5, "3", True):
        assert f"received: {wrong!r}" in told(fit(seeds=wrong), UsageError)
    assert "only one of seeds and splits" in told(fit(seeds=2, splits=2), UsageError)
    assert "early stopping needs a dev split" in told(
        fit(split={"train": 0.8, "test": 0.2}, early_stopping={"patience": 2})
    )
    task = {"loss": "mse", "task": "regression"}
    names = IRIS.target_names[IRIS.target]
    assert "holds text, such as 'setosa', not numbers to predict" in told(
        lambda: small().compile(**task).fit(IRIS.data, names, out=tmp_path), DataError
    )
    hinge, lengths = nnexp.Model("linear").compile(loss="hinge"), IRIS.data.iloc[:, 0].to_numpy()
    assert "compile: loss: " in told(lambda: hinge.fit(IRIS.data, lengths, out=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("X", "y", "settings", "kind", "message"),
    [
        (IRIS.data, IRIS.target[:-1], {}, DataError, "X has 150 rows and y has 149"),
        (IRIS.data, None, {}, UsageError, "predicted.*columns: sepal length"),
        (IRIS.data, None, {"target": "speces"}, DataError, "target: there is no column speces"),
        (IRIS.data, IRIS.target, {"target": "y"}, UsageError, "y or target, not both"),
        (None, IRIS.target, {}, UsageError, "fit has no X, which y would go with"),
        (None, None, {}, UsageError, r"fit needs data: fit\(X, y\)"),
        (None, None, {"drop": ["a"]}, UsageError, "fit has no X, which drop would go with"),
        (IRIS.frame, IRIS.target, {}, DataError, "X has a column target, as y is called"),
        (IRIS.data.to_numpy(), IRIS.target.replace(2, np.nan), {}, DataError, "no finite value"),
        (IRIS.data, IRIS.target.replace(2, np.nan), {}, DataError, "no finite value in 50 rows"),
        (IRIS.data.to_numpy(), ["a"] * 149 + [None], {}, DataError, r"no value in 1 row \(row 149"),
        (IRIS.data.to_numpy(), np.zeros((150, 2, 2)), {}, DataError, r"y has shape \(150, 2, 2\)"),
        (IRIS.data.iloc[:0], IRIS.target[:0], {}, DataError, "is empty"),
        ([[1, 2], [3]], [0, 1], {}, DataError, "X can't be made an array"),
        ({"a": [1, 2], "b": [1]}, [0, 1], {}, DataError, "X can't be a table"),
        (5, [0], {}, DataError, r"X should hold rows \(received: int\)"),
        ("iris.csv", [0], {}, UsageError, "X is text"),
        (np.zeros(4, complex), [0] * 4, {}, DataError, "holds complex128"),
        (np.zeros((9, 8, 8, 3)), [0] * 9, {}, DataError, r"X.transpose\(0, 3, 1, 2\)"),
        (IRIS.data, IRIS.target, {"dev": IRIS.data}, UsageError, r"dev should be a pair: dev=\(X"),
        (
            IRIS.data, IRIS.target, {"test": (IRIS.data.iloc[:, 1:], IRIS.target)},
            DataError, "columns of X; not in all: sepal length",
        ),
        (IRIS.data, IRIS.target, {"types": "text"}, ConfigError, r"fit: data\.source\.types"),
        (IRIS.data, IRIS.target, {"types": {"a": "numeric"}}, DataError, "types: there is no colu"),
        (IRIS.data.assign(a=[[1]] * 150), IRIS.target, {}, DataError, "column a holds list values"),
        (IRIS.data, IRIS.target * 0, {}, DataError, "there is one class only"),
    ],
)  # fmt: skip
def test_wrong_data_are_told(
    X: Any, y: Any, settings: dict[str, Any], kind: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        small().fit(X, y, epochs=1, out=tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_new_data_of_another_form_are_told(group: nnexp.Run) -> None:
    X, names = IRIS.data, IRIS.target_names[IRIS.target]
    with pytest.raises(DataError, match="petal width"):
        group.evaluate(X.iloc[:, :3], names)
    with pytest.raises(DataError, match=r"target: there is no column target"):
        group.evaluate(X)
    with pytest.raises(DataError, match="class rose is unknown"):
        group.evaluate(X, ["rose"] * 150)
    with pytest.raises(DataError):
        group.evaluate(X.to_numpy()[:, :3], names)
    with pytest.raises(DataError, match="X has 150 rows and y has 2"):
        group.evaluate(X, names[:2])


def test_divergence_is_told_and_the_run_is_there(tmp_path: Path) -> None:
    model = nnexp.Model("mlp", hidden=[6]).compile(optimizer={"name": "sgd", "lr": 1e3}, loss="mse")
    X, y = load_diabetes(return_X_y=True, scaled=False)
    with pytest.raises(Diverged, match="try a lower learning rate"):
        model.fit(X, y, epochs=3, out=tmp_path)
    (path,) = (tmp_path / "mlp").iterdir()
    assert nnexp.load(path).status == "diverged"
    assert "diverged" in repr(nnexp.load(path))


def test_experiments_are_checked_at_once(tmp_path: Path) -> None:
    text = told(lambda: nnexp.experiment("data: {source: irs}\nmodel: mlp\n"))
    assert "experiment:1:16: data.source: there is no such" in text
    assert "iris" in text
    text = told(lambda: nnexp.experiment({"data": {"source": "iris"}}))
    assert "experiment: model: " in text
    assert "no such file" in told(lambda: nnexp.experiment(tmp_path / "none.yaml"))
    assert "should be key.path=value" in told(
        lambda: nnexp.experiment(CONFIGS / "iris.yaml", set={"": 1})
    )
    deep: dict[str, Any] = {}
    deep["model"] = deep
    assert "nested too deeply" in told(lambda: nnexp.experiment(deep))
    model = nnexp.experiment(CONFIGS / "iris.yaml", set={"training.epochs": 2})
    assert model.config["training"]["epochs"] == 2
    assert model.compile(optimizer="sgd").config["optimizer"] == "sgd"
    run = model.fit(epochs=1, out=tmp_path)
    assert run.config["training"]["epochs"] == 1
    assert run.config["optimizer"]["name"] == "sgd"
    overrides = RunDir(run.path).read_manifest()["overrides"]
    assert overrides == ["training.epochs=2", 'optimizer="sgd"', "training.epochs=1"]


def test_a_run_becomes_a_torch_module(group: nnexp.Run) -> None:
    one = group.members[0]
    module = nnexp.load_module(one)
    assert isinstance(module, torch.nn.Module)
    out = module(torch.tensor(IRIS.data.to_numpy(), dtype=torch.float32))
    chances = one.predict(IRIS.data).filter(like="p(")
    np.testing.assert_allclose(out.softmax(1).detach().numpy(), chances, atol=1e-5)


# -- predicting ------------------------------------------------------------------------------------


def test_predictions_of_classes(group: nnexp.Run) -> None:
    X = IRIS.data.set_axis([f"f{i}" for i in range(150)])
    found = group.predict(X)
    assert found.index.equals(X.index)
    chances = [f"p({name})" for name in IRIS.target_names]
    assert found.columns.tolist() == ["prediction", "agreement", *chances]
    np.testing.assert_allclose(found[chances].sum(axis=1), 1, rtol=1e-5)
    assert (found[chances].idxmax(axis=1) == "p(" + found["prediction"] + ")").all()
    ones = [member.predict(X) for member in group.members]
    means = sum(one[chances] for one in ones) / 3
    np.testing.assert_allclose(found[chances], means, rtol=1e-5)
    agree = sum((one["prediction"] == found["prediction"]).astype(float) for one in ones) / 3
    np.testing.assert_allclose(found["agreement"], agree)
    one, own = ones[0], group.members[0].predictions
    assert (one["prediction"].to_numpy()[own["id"]] == own["prediction"]).all()
    assert one.columns.tolist() == ["prediction", *chances]
    pd.testing.assert_frame_equal(group.predict(IRIS.data.to_numpy()), found.reset_index(drop=True))
    assert len(group.predict(IRIS.frame[:1])) == 1  # a target among the columns is not looked at
    with pytest.raises(DataError, match="petal width"):
        group.predict(X.iloc[:, :3])


def test_predictions_of_numbers_and_labels(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    pair = nnexp.Model("linear").fit(X, y, epochs=3, seeds=2, out=tmp_path)
    found = pair.predict(X)
    assert found.columns.tolist() == ["target", "sd target"]
    errors = [np.sqrt(np.mean((m.predict(X)["target"] - y) ** 2)) for m in pair.members]
    np.testing.assert_allclose(pair.evaluate(X, y)["rmse"], errors, rtol=1e-6)
    labels = X.gt(X.median()).astype(int)[["age", "bmi"]]
    marked = nnexp.Model("linear").fit(X, labels.add_prefix("old "), epochs=3, out=tmp_path)
    flags = marked.predict(X)
    assert flags.columns.tolist() == ["old age", "old bmi", "p(old age)", "p(old bmi)"]
    assert (flags["old bmi"] == (flags["p(old bmi)"] >= 0.5)).all()


def test_predictions_with_text_and_gaps(tmp_path: Path) -> None:
    run = nnexp.fit(CONFIGS / "flats.yaml", out=tmp_path, set={"training.epochs": 2})
    flats = pd.read_csv(CONFIGS / "data" / "flats.csv", na_values=["?"])
    own = run.predictions.set_index("id")["prediction"]
    found = run.predict(flats.set_index("id").drop(columns="rent")).loc[own.index, "rent"]
    np.testing.assert_allclose(found, own, rtol=1e-5)
    with pytest.warns(UserWarning, match=r"district: category unseen in training.*600 rows"):
        strange = run.predict(flats.assign(district="Nowhere"))
    assert np.isfinite(strange["rent"]).all()
    by_file = run.predict(CONFIGS / "data" / "flats.csv")
    np.testing.assert_allclose(by_file.loc[own.index, "rent"], own, rtol=1e-5)
    with pytest.raises(DataError, match="no such file"):
        run.predict("flts.csv")


def test_votes_decide_where_a_loss_gives_no_probabilities(tmp_path: Path) -> None:
    names = np.where(IRIS.target == 0, "setosa", "other")
    model = nnexp.Model("linear").compile(loss="hinge")
    three = model.fit(IRIS.data, names, epochs=1, seeds=3, out=tmp_path)
    found = three.predict(IRIS.data)
    assert found.columns.tolist() == ["prediction", "agreement"]
    votes = pd.concat([m.predict(IRIS.data)["prediction"] for m in three.members], axis=1)
    assert (found["prediction"] == votes.mode(axis=1)[0]).all()
    assert found["agreement"].min() > 0.5
