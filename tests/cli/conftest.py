"""Small runs and groups, trained once, for the commands that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nnexp.cli.app import run as run_command

CONFIG = """\
name: small
data: {source: iris}
model: {name: mlp, hidden: [4]}
optimizer: {name: adam, lr: 0.01}
training: {epochs: 2, batch_size: 32}
"""


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="session")
def trained(config: Path) -> Callable[..., Path]:
    """Trains with further options; the run's path."""
    made: list[Path] = []

    def train(*options: str) -> Path:
        out = config.parent / f"out{len(made)}"
        assert run_command(["train", str(config), "--out", str(out), "--quiet", *options]) == 0
        made.append(next(out.glob("*/*")))
        return made[-1]

    return train


@pytest.fixture(scope="session")
def single(trained: Callable[..., Path]) -> Path:
    return trained()


@pytest.fixture(scope="session")
def other(trained: Callable[..., Path]) -> Path:
    return trained("--set", "optimizer.lr=0.1", "--set", "schedule=one_cycle")


@pytest.fixture(scope="session")
def group(trained: Callable[..., Path]) -> Path:
    return trained("--seeds", "3")


@pytest.fixture(scope="session")
def other_group(trained: Callable[..., Path]) -> Path:
    return trained("--seeds", "3", "--set", "optimizer.lr=0.1")
