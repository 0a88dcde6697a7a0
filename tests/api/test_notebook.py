"""The example notebook runs, and shows what it gives."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "configs" / "python-api.ipynb"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def words(cell: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """What a cell gives, without numbers, times and names of runs: these may differ."""
    found = []
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text")})
        for kind, lines in data.items():
            text = re.sub(r"runs/\S+", "", "".join(lines))
            found.append((kind, re.findall(r"[A-Za-z_]{3,}", text)))
    return found


def test_it_runs_and_its_outputs_are_those_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    loader = SourceFileLoader("notebook", str(ROOT / "scripts" / "notebook"))
    spec = importlib.util.spec_from_loader("notebook", loader)
    assert spec is not None
    script = importlib.util.module_from_spec(spec)
    loader.exec_module(script)
    stored, fresh = (json.loads(NOTEBOOK.read_text()) for _ in range(2))
    shutil.copytree(NOTEBOOK.parent, tmp_path / "configs")
    script.run(fresh, tmp_path / "configs")
    for old, new in zip(cells(stored), cells(fresh), strict=True):
        assert words(old) == words(new), "run scripts/notebook"
    assert sum(bool(cell["outputs"]) for cell in cells(stored)) > 8


def test_it_is_small_and_names_no_place() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 60_000
    for place in ("/home", "/tmp", "/work", "/usr", str(Path.home())):
        assert place not in text
    for cell in cells(json.loads(text)):
        assert not any(output["output_type"] == "error" for output in cell["outputs"])
