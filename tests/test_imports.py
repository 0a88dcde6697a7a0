"""Imports point down, heavy modules wait for their first use, and reading never pays for torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import nnexp

ROOT = Path(nnexp.__file__).parent
ORDER = [
    "errors",
    "lazy",
    "registry",
    "streams",
    "stats",
    "components",
    "data",
    "plugins",
    "config",
    "train",
    "runs",
    "deploy",
    "analysis",
    "search",
    "checks",
    "report",
    "api",
    "cli",
    "__main__",
]
"""Each may import from what stands before it."""
HEAVY = {"torch", "pandas", "scipy", "sklearn", "matplotlib"}
READERS = ("components", "config", "data", "analysis", "report", "api", "cli")
"""Packages that never need torch to be imported."""


@dataclass(frozen=True)
class Import:
    """One imported module; `lazily` when inside a function."""

    module: str
    lazily: bool
    line: int


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, modules: frozenset[str]) -> Iterator[Import]:
    """Every module that a file imports; `from a import b` is a.b where that is a module."""

    def walk(node: ast.AST, lazily: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazily, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in modules else node.module, lazily, node.lineno)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazily or inside)

    yield from walk(ast.parse(source), False)


PATHS = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = frozenset(PATHS)
IMPORTS = {name: list(imports_of(path.read_text(), MODULES)) for name, path in PATHS.items()}


def rank(module: str) -> int | None:
    """The place in ORDER of a module of nnexp; None for `nnexp` itself, which holds a version."""
    parts = module.split(".")
    return ORDER.index(parts[1]) if len(parts) > 1 else None


def outside(module: str) -> str:
    return module.partition(".")[0]


def fails(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def test_every_module_has_its_place() -> None:
    parts = {name.split(".")[1] for name in MODULES if "." in name}
    assert parts <= set(ORDER), f"not in the order: {sorted(parts - set(ORDER))}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name: str) -> None:
    own = rank(name)
    wrong = []
    for found in IMPORTS[name]:
        if outside(found.module) != "nnexp" or (other := rank(found.module)) is None:
            continue
        if own is None or other > own:
            wrong.append(f"{PATHS[name]}:{found.line} imports {found.module}")
    fails(wrong)


def test_there_are_no_cycles() -> None:
    graph = {
        name: {f.module for f in found if f.module in MODULES and f.module != name}
        for name, found in IMPORTS.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_heavy_modules_wait_for_their_first_use() -> None:
    fails(
        [
            f"{PATHS[name]}:{found.line} imports {found.module} at module level"
            for name, all_of_it in IMPORTS.items()
            for found in all_of_it
            if outside(found.module) in HEAVY and not found.lazily and name != "nnexp.lazy"
        ]
    )


def test_only_the_engine_uses_torch() -> None:
    """Elsewhere even a lazy torch would one day be loaded by reading a config."""
    allowed = ("nnexp.lazy", "nnexp.streams", "nnexp.components.", "nnexp.train.")
    fails(
        [
            f"{PATHS[name]}:{found.line} imports torch"
            for name, all_of_it in IMPORTS.items()
            for found in all_of_it
            if outside(found.module) == "torch" and not name.startswith(allowed)
        ]
    )


def test_only_the_console_uses_rich() -> None:
    fails(
        [
            f"{PATHS[name]}:{found.line} imports {found.module}"
            for name, all_of_it in IMPORTS.items()
            for found in all_of_it
            if outside(found.module) == "rich" and name != "nnexp.cli.console"
        ]
    )


def test_no_import_hides_behind_type_checking() -> None:
    hidden = [
        str(path)
        for name, path in PATHS.items()
        if "TYPE_CHECKING" in path.read_text() and name != "nnexp.lazy"
    ]
    fails(hidden)


def test_a_fresh_process_that_reads_has_no_heavy_module() -> None:
    names = [n for n in sorted(MODULES) if n.split(".")[1:2] and n.split(".")[1] in READERS]
    script = "\n".join(
        [
            "import sys",
            *[f"import {name}" for name in names],
            f"print(*sorted({HEAVY!r} & set(sys.modules)))",
        ]
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_importing_nnexp_imports_nothing_else() -> None:
    """What it offers is found when it is first used."""
    script = (
        "import sys, importlib, typing; before = set(sys.modules); import nnexp;"
        "print(*sorted(set(sys.modules) - before));"
        "nnexp.Model; print(*sorted({'torch', 'pandas', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.splitlines() == ["nnexp", ""]


def test_what_nnexp_offers_is_there_and_typed() -> None:
    stub = ast.parse(Path(nnexp.__file__).with_suffix(".pyi").read_text())
    typed = {ast.unparse(n.target) for n in stub.body if isinstance(n, ast.AnnAssign)}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            typed |= {alias.asname or alias.name for alias in node.names}
    assert typed == set(nnexp.__all__)
    for name in nnexp.__all__:
        assert getattr(nnexp, name) is not None
    assert set(nnexp.__all__) <= set(dir(nnexp))
    with pytest.raises(AttributeError, match="Modell"):
        nnexp.Modell  # noqa: B018


# -- the rules themselves --------------------------------------------------------------------------


def test_the_reading_of_imports_finds_each_kind() -> None:
    source = (
        "import torch.nn as nn\n"
        "from nnexp import streams\n"
        "from nnexp.errors import DataError\n"
        "if nn:\n    import scipy\n"
        "class A:\n    import pandas\n    def f(self):\n        from sklearn import svm\n"
    )
    assert list(imports_of(source, frozenset({"nnexp.streams"}))) == [
        Import("torch.nn", False, 1),
        Import("nnexp.streams", False, 2),
        Import("nnexp.errors", False, 3),
        Import("scipy", False, 5),
        Import("pandas", False, 7),
        Import("sklearn", True, 9),
    ]
    with pytest.raises(AssertionError, match="relative"):
        list(imports_of("from . import a", frozenset()))


def test_the_order_knows_up_from_down() -> None:
    assert rank("nnexp") is None
    assert (rank("nnexp.data.splits") or 0) < (rank("nnexp.config.load") or 0)
    assert (rank("nnexp.components.layers.basic") or 0) < (rank("nnexp.train.program") or 0)
