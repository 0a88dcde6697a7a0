"""Runs to deploy, trained for an epoch or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nnexp.cli.app import run as run_command

ROOT = Path(__file__).parents[2]
Train = Callable[..., Path]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains a config, a file's or keys, with further options; the run's path. Each only once."""
    made: dict[str, Path] = {}

    def make(config: str | dict[str, Any], *options: str) -> Path:
        key = repr((config, options))
        if key not in made:
            folder = tmp_path_factory.mktemp("trained")
            path = ROOT / "configs" / str(config)
            if isinstance(config, dict):
                path = folder / "config.yaml"
                path.write_text(yaml.safe_dump({"training": {"epochs": 1}, **config}))
            command = ["train", str(path), "--out", str(folder), "--quiet", *options]
            assert run_command(command) == 0
            made[key] = next(folder.glob("*/*/manifest.json")).parent
        return made[key]

    return make
