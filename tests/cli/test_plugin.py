"""`nnexp --plugin FILE COMMAND`: a user's own components, from training to scoring."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nnexp.cli.app import run
from nnexp.config.plugins import loaded
from nnexp.runs.files import sha256

CONFIGS = Path(__file__).parents[2] / "configs" / "plugins"
EXTRAS, CONFIG = CONFIGS / "extras.py", CONFIGS / "focal.yaml"
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's file; it marks each time that it is run."""
    path = tmp_path_factory.mktemp("mine") / "extras.py"
    mark = "from pathlib import Path\nwith Path(__file__).with_suffix('.ran').open('a') as f:\n"
    path.write_text(EXTRAS.read_text() + "\n\n" + mark + "    f.write('.')\n")
    return path


@pytest.fixture(scope="module")
def train(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains the example for two epochs, or as the options say; the run's path."""

    def trained(*options: str, file: Path = plugin) -> Path:
        out = tmp_path_factory.mktemp("out")
        line = ["--plugin", str(file), "train", str(CONFIG), "--out", str(out), "--quiet"]
        assert run([*line, "--set", "training.epochs=2", *options]) == 0
        return next(out.glob("*/*"))

    return trained


@pytest.fixture(scope="module")
def single(train: Train) -> Path:
    return train()


@pytest.fixture(scope="module")
def group(train: Train) -> Path:
    return train("--seeds", "2", "--set", "schedule=constant")


@pytest.fixture
def copied(single: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(single, tmp_path / "copied"))


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    assert loaded() == ()


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    return found


def advised(told: str) -> list[str]:
    """The command line that a message ends with."""
    _, *command = shlex.split(told.splitlines()[-1])
    assert _ == "nnexp"
    return command


def times_run(path: Path) -> int:
    mark = path.with_suffix(".ran")
    return len(mark.read_text()) if mark.exists() else 0


# -- one run ---------------------------------------------------------------------------------------


def test_a_run_keeps_the_file(single: Path, plugin: Path) -> None:
    copy = single / "plugins" / "extras.py"
    assert copy.read_bytes() == plugin.read_bytes()
    digest = sha256([plugin.read_bytes()])
    assert manifest(single)["plugins"] == [{"name": "extras.py", "sha256": digest}]
    assert manifest(single)["files"]["plugins/extras.py"] == digest
    assert json.loads((single / "summary.json").read_text())["status"] == "finished"


def test_a_run_without_plugins_says_nothing_of_them(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(config), "--out", str(tmp_path), "--quiet"]) == 0
    path = next(tmp_path.glob("*/*"))
    assert "plugins" not in manifest(path)
    assert not (path / "plugins").exists()
    capsys.readouterr()
    assert run(["show", str(path)]) == 0
    assert "--plugin" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [["eval"], ["train", "--resume"]])
def test_without_the_file_the_command_is_told(
    command: list[str], single: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = times_run(single / "plugins" / "extras.py")
    assert run([*command, str(single)]) == 3
    told = capsys.readouterr()
    assert f"error: {single} needs 1 plugin that it was trained with: extras.py" in told.err
    copy = str(single / "plugins" / "extras.py")
    assert advised(told.err) == ["--plugin", copy, *command, str(single)]
    assert times_run(single / "plugins" / "extras.py") == before, "only asked for is it run"
    assert run(advised(told.err)) == 0
    capsys.readouterr()


def test_scored_with_it_a_run_has_its_own_numbers(
    copied: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--plugin", str(plugin), "eval", str(copied), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"] == found["recorded"]


def test_the_same_bytes_will_do_under_another_name(
    copied: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "renamed.py"
    other.write_bytes(plugin.read_bytes())
    assert run(["--plugin", str(other), "eval", str(copied), "--json"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("command", [["eval"], ["train", "--resume"]])
def test_another_file_is_refused(
    command: list[str],
    copied: Path,
    plugin: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "extras.py"
    other.write_bytes(plugin.read_bytes() + b"# changed\n")
    assert run([*command, str(copied), "--plugin", str(other)]) == 3
    told = capsys.readouterr().err
    assert f"{copied} was trained with another extras.py: the SHA-256 differs" in told
    own = str(copied / "plugins" / "extras.py")
    assert advised(told) == ["--plugin", own, *command, str(copied)]


@pytest.mark.parametrize("line", [["eval"], ["show"], ["train", "--resume"]])
def test_a_changed_copy_is_refused(
    line: list[str], copied: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied / "plugins" / "extras.py"
    copy.write_bytes(plugin.read_bytes() + b"# changed\n")
    for more in ([], ["--plugin", str(plugin)]):
        assert run([*line, str(copied), *more]) == 3
        assert f"{copy} was changed since the run was written" in capsys.readouterr().err


def test_a_copy_that_is_gone(
    copied: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copied / "plugins")
    assert run(["eval", str(copied)]) == 3
    told = capsys.readouterr().err
    assert "its own copy is gone" in told
    assert sha256([plugin.read_bytes()]) in told
    assert run(["eval", str(copied), "--plugin", str(plugin), "--json"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("name", ["../extras.py", "a/b.py", "extras", "", "-x.py", "x.py\n"])
def test_a_manifest_that_names_no_plugin(
    name: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = manifest(copied)
    damaged["plugins"][0]["name"] = name
    (copied / "manifest.json").write_text(json.dumps(damaged))
    assert run(["eval", str(copied)]) == 3
    assert "is damaged: plugins.0.name" in capsys.readouterr().err


def test_reading_needs_no_plugin(
    single: Path, train: Train, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = train("--set", "loss.gamma=0")
    before = times_run(plugin)
    capsys.readouterr()
    assert run(["show", str(single)]) == 0
    assert "extras.py (to score it or go on, give them with --plugin)" in capsys.readouterr().out
    assert run(["runs", str(single.parent.parent)]) == 0
    assert "finished" in capsys.readouterr().out
    assert run(["compare", str(single), str(other), "--json"]) == 0
    differing = json.loads(capsys.readouterr().out)["config"]
    assert [row["path"] for row in differing] == ["loss.gamma"]
    assert times_run(plugin) == before


def test_compare_tells_plugins_apart(
    single: Path,
    train: Train,
    plugin: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Same name, same config, other code."""
    changed = tmp_path / "extras.py"
    changed.write_text(plugin.read_text().replace("square()", "pow(3)"))
    other = train(file=changed)
    capsys.readouterr()
    assert run(["compare", str(single), str(other), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["config"]
    assert row["path"] == "plugins.extras.py"
    digests = [sha256([path.read_bytes()])[:12] for path in (plugin, changed)]
    assert row["values"] == digests


# -- going on, and groups --------------------------------------------------------------------------


def test_training_goes_on_exactly(
    train: Train, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = train("--set", "schedule=constant")
    whole = train("--set", "schedule=constant", "--set", "training.epochs=4")
    line = ["train", "--resume", str(short), "--epochs", "4", "--quiet"]
    assert run(line) == 3
    assert run([*line, "--plugin", str(plugin)]) == 0
    for name in ("model.safetensors", "metrics.csv", "predictions.csv"):
        assert (short / name).read_bytes() == (whole / name).read_bytes()
    assert manifest(short)["files"]["plugins/extras.py"] == sha256([plugin.read_bytes()])
    capsys.readouterr()


def test_a_group_keeps_one_copy_for_its_members(
    group: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (group / "plugins" / "extras.py").is_file()
    assert not (group / "s0" / "plugins").exists()
    own = str(group / "plugins" / "extras.py")
    for path in (group, group / "s0"):
        assert run(["eval", str(path)]) == 3
        told = capsys.readouterr().err
        assert advised(told) == ["--plugin", own, "eval", str(path)]
        assert run([*advised(told), "--json"]) == 0
        capsys.readouterr()
    assert run(["--plugin", str(plugin), "train", "--resume", str(group), "--seeds", "3"]) == 0
    assert manifest(group / "s2")["plugins"] == manifest(group)["plugins"]
    capsys.readouterr()


def test_a_changed_copy_of_a_group_is_refused(
    group: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = Path(shutil.copytree(group, tmp_path / "group"))
    (copied / "plugins" / "extras.py").write_text("import os\n")
    for path in (copied, copied / "s0"):
        assert run(["eval", str(path)]) == 3
        assert "extras.py was changed since the run was written" in capsys.readouterr().err


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        ["--plugin", "FILE", "explain", "focal", "--json"],
        ["explain", "--plugin", "FILE", "focal", "--json"],
        ["explain", "focal", "--json", "--plugin=FILE"],
    ],
)
def test_it_may_stand_anywhere(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([part.replace("FILE", str(EXTRAS)) for part in line]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["name"] == "loss.focal"
    assert found["use"].startswith("where most examples are easy")
    assert found["parameters"][0] == {
        "name": "gamma",
        "type": "number",
        "default": "2",
        "range": "≥ 0, ≤ 10",
        "unit": "",
        "description": "γ: how much less; 0 is cross-entropy",
        "also": [],
        "per_member": False,
        "search": "",
    }


def test_its_components_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "schedule", "--plugin", str(EXTRAS)]) == 0
    assert "polynomial_floor" in capsys.readouterr().out
    assert run(["schema", "--plugin", str(EXTRAS)]) == 0
    assert "activation.squared_relu" in json.loads(capsys.readouterr().out)["$defs"]
    assert run(["show", "--resolved", str(CONFIG), "--plugin", str(EXTRAS)]) == 0
    assert "gamma: 1.5" in capsys.readouterr().out
    assert run(["ls", "schedule"]) == 0
    assert "polynomial_floor" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        ["ls", "--plugin"],
        ["--plugin", "ls", "loss"],
        ["--plugin="],
        ["ls", "--plugin", "no-such-file.py"],
        ["--plugin", str(CONFIG), "ls"],
        ["--plugin", str(EXTRAS)],
    ],
)
def test_wrong_usage(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err
    assert "Traceback" not in told.err


def test_a_config_never_finds_a_file_by_itself(
    tmp_path: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plugins").mkdir()
    copy = Path(shutil.copy(plugin, tmp_path / "plugins"))
    config = Path(shutil.copy(CONFIG, tmp_path))
    assert run(["train", str(config), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "model.activation: there is no such activation" in told
    assert told.endswith(
        "components of your own are found with: nnexp --plugin FILE.py COMMAND …\n"
    )
    assert times_run(copy) == 0


def test_a_misspelt_name_has_no_plugin_in_its_hint(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", str(config), "--set", "optimizer=adamm"]) == 2
    told = capsys.readouterr().err
    assert "did you mean adam?" in told
    assert "--plugin" not in told


def test_a_plugin_that_fails_is_not_a_defect_of_nnexp(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "extras.py"
    file.write_text(EXTRAS.read_text().replace("torch.relu(x).square()", "torch.relu(x).sqare()"))
    line = file.read_text().partition("sqare")[0].count("\n") + 1
    assert run(["--plugin", str(file), "train", str(CONFIG), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"error: {file}:{line}: in SquaredRelu.forward: AttributeError: " in told
    assert "Traceback" not in told
    assert "defect" not in told


def test_a_plugin_that_gives_something_wrong_is_suspected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "extras.py"
    file.write_text(EXTRAS.read_text().replace("torch.relu(x).square()", "torch.relu(x)[..., 1:]"))
    assert run(["--plugin", str(file), "train", str(CONFIG), "--out", str(tmp_path)]) == 1
    assert "A plugin was in use: what it gave may have led to this" in capsys.readouterr().err
