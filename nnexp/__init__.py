"""nnexp: does this training choice help on my data, or was it luck?

From Python: `Model(…).compile(…).fit(X, y)`, `fit("config.yaml")`, `load("runs/…")`,
`compare(run_a, run_b)`. Nothing is imported until it is used.
"""

from importlib import import_module as _import
from typing import Any as _Any

__version__ = "0.1.0"

_HOMES = {
    "Model": "nnexp.api.model",
    "Run": "nnexp.api.run",
    "Verdict": "nnexp.api.comparison",
    "compare": "nnexp.api.comparison",
    "experiment": "nnexp.api.model",
    "fit": "nnexp.api.model",
    "load": "nnexp.api.run",
    "load_module": "nnexp.deploy.module",
    "plugged": "nnexp.api.plugins",
}

__all__ = [
    "Model",
    "Run",
    "Verdict",
    "__version__",
    "compare",
    "errors",
    "experiment",
    "fit",
    "load",
    "load_module",
    "plugged",
]


def __getattr__(name: str) -> _Any:
    if name == "errors":
        return _import("nnexp.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'nnexp' has no attribute '{name}'")
    value = globals()[name] = getattr(_import(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
