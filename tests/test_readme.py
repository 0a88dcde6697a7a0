"""What the README and the example configs say is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from nnexp.cli.app import run
from nnexp.config import source
from nnexp.config.catalogue import tables
from nnexp.config.experiment import Experiment
from nnexp.config.load import load_config
from nnexp.runs.execute import Order, Reporter, start

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_the_tables_are_those_of_the_code() -> None:
    assert tables().strip() in README, "run scripts/tables"


def test_the_config_in_the_readme_is_valid() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    Experiment.model_validate(source.plain(source.parse(text, "README.md")))


def test_every_command_it_names_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for command in set(
        re.findall(r"nnexp (train|eval|compare|runs|show|ls|explain|schema)\b", README)
    ):
        assert run([command, "--help"]) == 0
    for script in set(re.findall(r"`scripts/([a-z-]+)", README)):
        assert (ROOT / "scripts" / script).exists(), script
    capsys.readouterr()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_example_trains_an_epoch(path: Path, tmp_path: Path) -> None:
    if "NNEXP_DATA" in source.dump(source.plain(source.load(path))):
        pytest.skip("its data do not come with the package")
    config = load_config(path, ["training.epochs=1"])
    order = Order(config.experiment, config.text, path.parent)
    finished = start(order, tmp_path, Reporter())
    assert finished.read_json("summary.json")["status"] == "finished"


def test_the_first_run_keeps_its_promise(tmp_path: Path) -> None:
    config = load_config(ROOT / "configs" / "digits.yaml")
    finished = start(Order(config.experiment, config.text, tmp_path), tmp_path, Reporter())
    assert finished.read_json("summary.json")["test"]["accuracy"] >= 0.97
