"""Configs from files: every mistake at its line, and no other way out than a ConfigError."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.config import source
from nnexp.config.load import Config, load_config
from nnexp.errors import ConfigError, Problem

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))

Read = Callable[..., Config]
Fails = Callable[..., tuple[Problem, ...]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def load(text: str, *overrides: str) -> Config:
        path = tmp_path / "some.yaml"
        path.write_text(text)
        return load_config(path, overrides)

    return load


@pytest.fixture
def fails(read: Read) -> Fails:
    def load(text: str, *overrides: str) -> tuple[Problem, ...]:
        with pytest.raises(ConfigError) as caught:
            read(text, *overrides)
        return caught.value.problems

    return load


GOOD = "data: {source: iris}\nmodel: mlp\n"


# -- what is right ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNEXP_DATA", "/data")
    config = load_config(path)
    assert config.text == path.read_text()
    assert config.experiment.name == path.stem


def test_the_name_is_the_files(read: Read) -> None:
    assert read(GOOD).experiment.name == "some"
    assert read(GOOD + "name: other\n").experiment.name == "other"


def test_null_is_the_default(read: Read) -> None:
    text = GOOD + "optimizer: null\ntraining: {epochs: ~, early_stopping: null}\n"
    text += "regularization: {l2: null, l1: {coefficient: 1, step: null}}\n"
    config = read(text, "seed=null")
    plain = read(GOOD + "regularization: {l1: {coefficient: 1}}")
    assert config.experiment == plain.experiment


def test_a_key_that_does_not_exist_is_told_even_if_it_is_null(fails: Fails) -> None:
    text = (
        "data: {source: iris, split: {train: 0.6, dev 0.2, test: 0.2}, foo: null}\n"
        "model: {name: mlp, hiddn: }\n"
        "regularization: {l2: null, l3: null}\n"
        "training: {early_stopping: {patiense: }, epochs: }\n"
        "preprocessing: [{name: min_max, x: null}, null]\n"
        "optimizer: {name: null, lr: null}\n"
        "bar:\n"
    )
    assert [p.path for p in fails(text)] == [
        "data.split.dev 0.2",
        "data.foo",
        "model.hiddn",
        "regularization.l3",
        "training.early_stopping.patiense",
        "preprocessing.0.x",
        "preprocessing.1",
        "bar",
    ]
    assert fails(text)[0].hint == "a `:` is missing after dev"
    assert fails("data {source: iris}\nmodel: mlp\n")[0].hint == "a `:` is missing after data"


def test_options_win(read: Read) -> None:
    config = read(GOOD, "optimizer.lr=0.5", "training.epochs=3")
    assert config.overrides == ("optimizer.lr=0.5", "training.epochs=3")
    assert getattr(config.experiment.optimizer, "lr") == 0.5
    assert config.experiment.training.epochs == 3


def test_files_are_relative_to_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("SOME", "/data")
    (tmp_path / "base").mkdir()
    source = "{name: idx, images: a, labels: ../b, test_images: '${SOME}/c', test_labels: ~/d}"
    text = f"data: {{source: {source}, split: {{train: '{{seed}}.txt'}}}}\nmodel: mlp\n"
    (tmp_path / "base/base.yaml").write_text(text)
    (tmp_path / "config.yaml").write_text("base: base/base.yaml\ndata: {source: {images: e}}\n")
    data = load_config(tmp_path / "config.yaml", ["data.split.dev=f"]).experiment.data
    found = [getattr(data.source, f) for f in ("images", "labels", "test_images", "test_labels")]
    home = str(Path.home() / "d")
    assert found == [str(tmp_path / "e"), str(tmp_path / "b"), "/data/c", home]
    split = [getattr(data.split, part) for part in ("train", "dev")]
    assert split == [str(tmp_path / "base/{seed}.txt"), str(tmp_path.parent / "f")]


def test_a_csv_needs_a_target(fails: Fails) -> None:
    (problem,) = fails("data: {source: {name: csv, path: x, target: []}}\nmodel: mlp\n")
    assert problem.place.endswith(":1:37")
    assert "at least 1 item" in problem.allowed


def test_files_that_go_together(fails: Fails) -> None:
    source = "{name: idx, images: a, labels: b, test_images: c}"
    (problem,) = fails(f"data: {{source: {source}}}\nmodel: mlp\n")
    assert problem.place.endswith(":1:63")
    assert problem.message == "test_images and test_labels go together; only one is given"


def test_a_variable_that_is_not_set(fails: Fails) -> None:
    text = "data: {source: {name: csv, path: '${NO_SUCH}/a.csv', target: y}}\nmodel: mlp\n"
    (problem,) = fails(text)
    assert problem.place.endswith(":1:34")
    assert "NO_SUCH" in problem.message


# -- what is wrong ---------------------------------------------------------------------------------

CASES = {
    # line: (place, path, part of the message, part of allowed, part of the hint)
    "seed: -1": ("3:7", "seed", "at least 0", "from 0 to 2^53", ""),
    "seed: 1.5": ("3:7", "seed", "whole number", "", ""),
    "seed: 3.0": ("3:7", "seed", "whole number", "", "did you mean 3?"),
    "seed: true": ("3:7", "seed", "whole number", "", ""),
    "seed: '3'": ("3:7", "seed", "whole number", "", "leave out the quotes"),
    "name: 2024": ("3:7", "name", "text", "", "quotes"),
    "random_state: 3": ("3:1", "random_state", "no such key", "seed", "did you mean seed?"),
    "epochs: 3": ("3:1", "epochs", "no such key", "", "did you mean training.epochs?"),
    "lr: 3": ("3:1", "lr", "no such key", "", "did you mean optimizer.lr?"),
    "l2: 3": ("3:1", "l2", "no such key", "", "did you mean regularization.l2?"),
    "adam: 3": ("3:1", "adam", "no such key", "", "adam is an optimizer"),
    "xyzzy: 3": ("3:1", "xyzzy", "no such key", "name, seed", ""),
    "task: clasification": (
        "3:7",
        "task",
        "classification, regression, multilabel, dense or words",
        "",
        "classification?",
    ),
    "optimizer: adm": ("3:12", "optimizer", "no such optimizer", "adam, adamw", "adam?"),
    "optimizer: relu": ("3:12", "optimizer", "no such optimizer", "", "relu is an activation"),
    "optimizer: 3": ("3:12", "optimizer", "name of an optimizer", "adam", ""),
    "optimizer: {name: adm}": ("3:19", "optimizer.name", "no such", "adam", "adam?"),
    "optimizer: {name: adam, learning_rate: 1}": (
        *("3:25", "optimizer.learning_rate", "adam has no such key", "lr, beta1", "lr?"),
    ),
    "optimizer: {lr: 0}": ("3:17", "optimizer.lr", "above 0", "above 0 and at most 1,000", ""),
    "optimizer: {lr: .nan}": ("3:17", "optimizer.lr", "finite", "above 0", ""),
    "optimizer: {lr: fast}": ("3:17", "optimizer.lr", "a number above 0", "", ""),
    "optimizer: {lr: [1]}": ("3:13", "optimizer.lr", "a number above 0", "", ""),
    "initialization: xavier": ("3:17", "initialization", "no such", "", "glorot_normal?"),
    "schedule: new-bob": ("3:11", "schedule", "no such schedule", "newbob", "newbob?"),
    "schedule: {gamma: 2}": ("3:12", "schedule.gamma", "constant has no such key", "per", ""),
    "regularization: 3": ("3:17", "regularization", "a mapping from", "l1, l2", ""),
    "regularization: {l3: 3}": ("3:18", "regularization.l3", "no such", "l1, l2", ""),
    "regularization: {dropout: 3}": (
        *("3:18", "regularization.dropout", "no such", "", "model.dropout?"),
    ),
    "regularization: {l2: -3}": ("3:22", "regularization.l2", "at least 0", "a number from 0", ""),
    "regularization: {l2: {coefficient: x}}": (
        *("3:36", "regularization.l2.coefficient", "a number from 0", "", ""),
    ),
    "regularization: {l2: {}}": (
        *("3:18", "regularization.l2.coefficient", "l2 needs it", "a number from 0", ""),
    ),
    "preprocessing: min_max": ("3:16", "preprocessing", "a list", "", "[min_max]?"),
    "preprocessing: [{name: pca, components: 2, component: 3}]": (
        *("3:44", "preprocessing.0.component", "no such key", "components", "components?"),
    ),
    "preprocessing: [{name: pca, components: many}]": (
        *("3:41", "preprocessing.0.components", "should be a number", "", ""),
    ),
    "metrics: [accuracy, {}]": ("3:21", "metrics.1", "needs a `name`", "rmse", ""),
    "metrics: [accuracy, {nam: error}]": (
        *("3:22", "metrics.1.nam", "a metric has no such key", "", "did you mean name?"),
    ),
    "optimizer: {type: sgd, momentum: 1}": (
        *("3:13", "optimizer.type", "no such key", "", "did you mean name?"),
    ),
    "metrics: [accuracy, [rmse]]": ("3:21", "metrics.1", "name of a metric", "rmse", ""),
    "training: 3": ("3:11", "training", "a mapping with epochs", "", ""),
    "training: {batch_size: fulll}": ("3:24", "training.batch_size", "or full", "", "full?"),
    "training: {batch_size: 0}": ("3:24", "training.batch_size", "at least 1", "or full", ""),
    "training: {batch_size: [8]}": ("3:12", "training.batch_size", "or full", "", ""),
    "training: {precision: 32}": ("3:23", "training.precision", "float32, bf16 or", "", ""),
    "training: {early_stopping: {patience: -1}}": (
        *("3:39", "training.early_stopping.patience", "at least 0", "from 0 to 100,000", ""),
    ),
    "training: {early_stopping: true}": (
        *("3:28", "training.early_stopping", "a mapping with monitor", "", ""),
    ),
}


@pytest.mark.parametrize("line", CASES)
def test_a_wrong_line(line: str, fails: Fails) -> None:
    place, path, message, allowed, hint = CASES[line]
    problems = fails(f"{GOOD}{line}\n")
    problem = next(p for p in problems if p.path == path)
    assert problem.place.endswith(f"some.yaml:{place}")
    assert message in problem.message
    assert allowed in problem.allowed
    assert hint in problem.hint
    assert hint or not problem.hint.startswith("did you mean")
    if "type:" in line:
        assert [p.path for p in problems] == [path, "optimizer.momentum"]
    else:
        assert len(problems) == 1


def test_keep_prob_is_the_complement(fails: Fails) -> None:
    layers = "[{name: dropout, keep_prob: 0.8}]"
    (problem,) = fails(f"data: {{source: iris}}\nmodel: {{name: sequential, layers: {layers}}}\n")
    assert problem.hint == "did you mean rate (= 1 − keep_prob)?"
    assert problem.path == "model.layers.0.keep_prob"


def test_what_is_missing(fails: Fails) -> None:
    data, model = fails("seed: 3\n")
    assert (data.path, model.path) == ("data", "model")
    assert data.place.endswith("some.yaml:1:1")
    assert "mlp" in model.allowed
    (source,) = fails("seed: 1\ndata: {}\nmodel: mlp\n")
    assert source.path == "data.source"
    assert source.place.endswith(":2:1")
    csv = fails("model: mlp\ndata:\n  source: csv\n")
    assert [(p.path, p.place[-4:]) for p in csv] == [
        ("data.source.path", ":3:3"),
        ("data.source.target", ":3:3"),
    ]


def test_the_forms_of_a_value_make_one_problem(fails: Fails) -> None:
    def problem(target: str) -> Problem:
        source = f"{{name: csv, path: a.csv, target: {target}}}"
        (found,) = fails(f"model: mlp\ndata: {{source: {source}}}\n")
        return found

    assert problem("1.5").path == "data.source.target"
    assert problem("[a, 1.5]").path == "data.source.target.1"
    assert problem("{int: 1}").path == "data.source.target"
    assert problem("[[1]]").path == "data.source.target.0"


def test_a_misspelt_key_hides_nothing(fails: Fails) -> None:
    text = "data: {source: iris}\nmodl: {name: mlp, hidden: [0], droput: 2}\n"
    assert [p.path for p in fails(text)] == ["modl", "modl.hidden.0", "modl.droput"]


def test_all_at_once_in_the_order_of_the_lines(fails: Fails) -> None:
    text = (
        "model: {name: mlp, activation: reluu}\n"
        "seed: x\n"
        "seed: 3\n"  # twice
        "data: {source: iris, split: {train: 0.8, test: 0.2}}\n"
        "training: {early_stopping: {patience: -1}, epochs: 0}\n"
        "schedule: newbob\n"
    )
    problems = fails(text, "optimizer.lr=-1", "loss")
    paths = [p.path for p in problems]
    assert paths[:3] == ["model.activation", "seed", "seed"]
    assert paths[3:6] == [
        *("training.early_stopping", "training.early_stopping.patience", "training.epochs"),
    ]
    assert paths[6:] == ["schedule", "", "optimizer.lr"]
    assert problems[-1].place == "--set optimizer.lr=-1"


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        # The rule is broken by what is right; whatever is wrong beside it.
        ("schedule: newbob\ndata: {source: iris, split: {train: 1.0}}\nseed: x", "schedule"),
        ("schedule: newbob\ndata: {source: irs, split: {train: 1.0}}", "schedule"),
        ("schedule: {name: newbob, decay: 3}\ndata: {source: iris, split: {train: 1}}", "schedule"),
        ("loss: mse\ntask: classification\nmetrics: [acuracy]", "loss"),
        ("loss: mse\ntask: classification\nmodel: {name: mlp, hidden: x}", "loss"),
        ("model: {name: mlp, batch_norm: true, dropout: x}\ntraining: {batch_size: 1}",
         "training.batch_size"),
    ],
)  # fmt: skip
def test_combinations_are_checked_beside_wrong_fields(wrong: str, rule: str, fails: Fails) -> None:
    rest = [line for line in GOOD.splitlines() if line.split(":")[0] not in wrong]
    paths = [p.path for p in fails("\n".join([wrong, *rest]))]
    assert rule in paths
    assert len(paths) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        # Whether a rule is broken depends on what is wrong, so nothing is said about it.
        "schedule: newbob\ndata: {source: iris, split: {train: 0.8, dev: x5}}",
        "schedule: newbob\ndata: {source: iris, split: {train: 0.8, dev: [1]}}",
        "schedule: newbob\ndata: {source: iris, split: {train: 0.8, devv: 0.2}}",
        "schedule: newbob\ndata: {source: iris, split: 3}",
        "schedule: {name: constant, warmup: {epochs: -1}}",
        "training: {batch_size: x}\nmodel: {name: mlp, batch_norm: true}",
        "training: {batch_size: 1}\nmodel: {name: mlp, batch_norm: x}",
        "loss: mse\ntask: clasification",
        "optimizer: adamv\nregularization: {weight_decay: 0.1}",
    ],
)
def test_nothing_is_said_about_what_is_not_known(wrong: str, read: Read) -> None:
    rest = [line for line in GOOD.splitlines() if line.split(":")[0] not in wrong]
    text = "\n".join([wrong, *rest])
    if "x5" in wrong:  # text is a file's name there: nothing is wrong
        read(text)
        return
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert len(caught.value.problems) == 1


def test_places_of_problems_found_later(read: Read) -> None:
    text = GOOD + "metrics:\n  - accuracy\n  - loss\ntraining:\n  epochs: 3\n"
    config = read(text, "seed=3")
    later = ConfigError(
        [
            Problem("", "training.early_stopping.patience", "x"),
            Problem("", "seed", "x"),
            Problem("", "metrics.1", "x"),
            Problem("", "optimizer", "x"),
            Problem("here", "seed", "x"),
        ]
    )
    places = [
        (p.path, p.place.removeprefix(str(config.path))) for p in config.locate(later).problems
    ]
    assert places == [
        ("optimizer", ":1:1"),
        ("metrics.1", ":5:5"),
        ("training.early_stopping.patience", ":6:1"),
        ("seed", "--set seed=3"),
        ("seed", "here"),
    ]


# -- anything --------------------------------------------------------------------------------------

WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "x", "mlp", "adam", "1", ".inf", "a.b", "int", "[key]", "name", "é"]),
    st.lists(st.sampled_from([1, "relu", None, {}]), max_size=2),
    st.dictionaries(
        st.sampled_from(["name", "int", "a.b", "x", ""]), st.integers(0, 2), max_size=2
    ),
)
WHOLE = [path for path in CONFIGS if "base:" not in path.read_text()]
KEYS = st.sampled_from(["x", "nam", "name", "lr", "hiden", "a.b", "", "0", "base2", "dropot"])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from _paths(item, (*path, key))


def _holder(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        data = data[key]
    return data


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A real config with a few changes."""
    data: dict[str, Any] = source.plain(source.read(draw(st.sampled_from(WHOLE))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(_paths(data), key=repr)))
        holder, key = _holder(data, path), path[-1]
        how = draw(st.sampled_from(["replace", "rename", "delete", "nest", "wrap", "copy"]))
        if how == "replace":
            holder[key] = draw(WRONG)
        elif how == "nest":
            holder[key] = {draw(KEYS): holder[key]}
        elif how == "wrap":
            holder[key] = [holder[key]]
        elif how == "delete":
            del holder[key]
        elif isinstance(holder, dict):
            new = draw(KEYS)
            value = copy.deepcopy(holder[key]) if how == "copy" else holder.pop(key)
            holder[new] = value
        if not data:
            break
    return data


def _lines(path: Path, dotted: str) -> set[int]:
    """The lines of a key and its value by PyYAML's marks; of the deepest part that exists."""
    node, rest = yaml.compose(path.read_text()), dotted
    lines = {1}
    while rest:
        items: list[tuple[str, Any, Any]] = []
        if isinstance(node, yaml.MappingNode):
            items = [(key.value, key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            items = [(str(i), value, value) for i, value in enumerate(node.value)]
        fits = [item for item in items if rest == item[0] or rest.startswith(f"{item[0]}.")]
        if not fits:
            return lines
        name, key, node = max(fits, key=lambda item: len(item[0]))
        lines = {key.start_mark.line + 1, node.start_mark.line + 1}
        rest = rest[len(name) + 1 :]
    return lines


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_whatever_is_wrong_is_told_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(source.dump(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNEXP_DATA", "/data")
        try:
            load_config(path)
            return
        except ConfigError as error:
            problems = error.problems
    assert len({str(problem) for problem in problems}) == len(problems)
    for problem in problems:
        match = re.fullmatch(re.escape(str(path)) + r":(\d+):(\d+)", problem.place)
        assert match, problem
        assert problem.message
        if problem.path and "" not in problem.path.split("."):
            assert int(match[1]) in _lines(path, problem.path), problem


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_every_leaf_is_checked(
    tmp_path_factory: pytest.TempPathFactory, example: Path, drawn: st.DataObject
) -> None:
    """Whatever a scalar was, a mapping with an unknown key is wrong there, and it is told so."""
    data = source.plain(source.read(example))
    leaves = [p for p in _paths(data) if not _is_inner(data, p) and not _is_free(data, p)]
    leaf = drawn.draw(st.sampled_from(leaves))
    _holder(data, leaf)[leaf[-1]] = {"zzz": {}}
    data["yyy"] = drawn.draw(WRONG.filter(lambda value: value is not None))
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(source.dump(data))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    told = [problem.path for problem in caught.value.problems]
    assert "yyy" in told
    wrong = ".".join(map(str, leaf))
    assert any(f"{p}.".startswith(f"{wrong}.") for p in told), told


def _is_free(data: Any, path: tuple[Any, ...]) -> bool:
    """Whether anything may stand there: what a search would put elsewhere is checked there."""
    if path[:2] == ("sweep", "arms"):
        return True
    return path[:2] == ("sweep", "search") and isinstance(data["sweep"]["search"][path[2]], list)


def _is_inner(data: Any, path: tuple[Any, ...]) -> bool:
    return isinstance(_holder(data, path)[path[-1]], (dict, list))
