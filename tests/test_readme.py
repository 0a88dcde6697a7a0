"""What the README and the example configs say is true."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from nnexp.cli.app import run
from nnexp.config import source
from nnexp.config.catalogue import tables
from nnexp.config.load import load_config
from nnexp.runs.execute import Order, Reporter, start

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
FRAGMENTS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
REST = {"data": "{source: digits}", "model": "mlp"}
"""What a part of a config needs to be a whole one."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _trains(path: Path, root: Path) -> bool:
    config = load_config(path, ["training.epochs=1"])
    finished = start(Order(config.experiment, config.text, path.parent), root, Reporter())
    return bool(finished.read_json("summary.json")["status"] == "finished")


def test_the_tables_are_those_of_the_code() -> None:
    assert tables().strip() in README, "run scripts/tables"


@pytest.mark.parametrize("text", FRAGMENTS, ids=lambda text: text.partition(":")[0])
def test_a_config_in_the_readme_trains(text: str, tmp_path: Path) -> None:
    """Whole configs and parts of one, the rest of which is short; one epoch."""
    missing = [f"{key}: {value}\n" for key, value in REST.items() if f"{key}:" not in text]
    (tmp_path / "config.yaml").write_text(text + "".join(missing))
    shutil.copy(ROOT / "configs" / "data" / "flats.csv", tmp_path)
    assert _trains(tmp_path / "config.yaml", tmp_path)


def test_every_command_it_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"^(?:\$ |\| `|.*`)nnexp ([a-z]+)", README, re.MULTILINE))
    assert {"train", "check", "diagnose", "report", "plot", "curve"} <= named
    for command in named:
        assert run([command, "--help"]) == 0
    for script in set(re.findall(r"`scripts/([a-z-]+)", README)):
        assert (ROOT / "scripts" / script).exists(), script
    capsys.readouterr()


def test_every_name_it_has_explained_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for name in set(re.findall(r"nnexp explain ([a-z_.]+)", README)):
        assert run(["explain", name]) == 0
    for family in set(re.findall(r"nnexp ls ([a-z]+)", README)):
        assert run(["ls", family]) == 0
    capsys.readouterr()


def test_every_example_it_names_exists() -> None:
    for name in set(re.findall(r"configs/([\w./-]+\.yaml)", README)):
        assert (ROOT / "configs" / name).exists(), name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_example_trains_an_epoch(path: Path, tmp_path: Path) -> None:
    if "NNEXP_DATA" in source.dump(source.plain(source.load(path))):
        pytest.skip("its data do not come with the package")
    assert _trains(path, tmp_path)


def test_the_first_run_keeps_its_promise(tmp_path: Path) -> None:
    config = load_config(ROOT / "configs" / "digits.yaml")
    finished = start(Order(config.experiment, config.text, tmp_path), tmp_path, Reporter())
    assert finished.read_json("summary.json")["test"]["accuracy"] >= 0.97
