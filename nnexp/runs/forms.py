"""What the JSON files of a run hold. Each is held against its form whenever it is read, since a
run may come from anywhere; whoever uses one then need not ask what every value is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnexp.errors import DamagedRun

Status = Literal["running", "finished", "interrupted", "diverged", "failed"]
Count = Annotated[int, Field(ge=0, le=2**53)]
Members = Annotated[int, Field(ge=1, le=1_000_000)]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]
Metrics = dict[str, Number | None]


class Form(BaseModel):
    """A JSON object; keys that are not named may hold anything."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _File(Form):
    path: str
    size: Count
    sha256: str


class _Data(Form):
    fingerprint: str | None = None
    rows: Count | None = None
    files: list[_File] = []


class _Split(Form):
    train: str | None = None
    dev: str | None = None
    test: str | None = None
    counts: dict[str, Count] = {}


class _Addition(Form):
    at: str = ""
    members: Members


class _Plugin(Form):
    name: Annotated[str, Field(pattern=r"^\w[\w.-]*\.py$", max_length=99)]
    sha256: str


class Manifest(Form):
    """manifest.json"""

    kind: Literal["run", "group"]
    status: Status
    id: str = ""
    created: str = ""
    name: str = ""
    overrides: list[str] = []
    git_commit: str | None = None
    data: _Data | None = None
    splits: list[_Split] = []
    split: _Split | None = None
    nnexp: str = ""
    versions: dict[str, str] = {}
    device: str = ""
    device_name: str = ""
    threads: Annotated[int, Field(ge=1, le=65536)] = 1
    ranks: Annotated[int, Field(ge=1, le=65536)] = 1
    seed: int = 0
    split_seed: int = 0
    parameters: Count | None = None
    seconds: Number | None = None
    files: dict[str, str] = {}
    varies: Literal["seed", "split"] = "seed"
    additions: list[_Addition] = []
    packs: list[list[Count]] = []
    plugins: list[_Plugin] = []
    ensemble: list[str] = []


class GroupManifest(Manifest):
    """manifest.json of a group."""

    members: Members


class _Described(Form):
    mean: Number | None = None
    sd: Number | None = None
    interval: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    n: Count = 0


class _Baseline(Form):
    train: Metrics
    dev: Metrics | None = None
    test: Metrics | None = None
    parameters: Count


class _Summary(Form):
    status: Status
    baselines: dict[str, _Baseline] = {}
    task: str | None = None
    primary: str
    higher_is_better: dict[str, bool] = {}


class RunSummary(_Summary):
    """summary.json of a run."""

    train: Metrics
    dev: Metrics | None = None
    test: Metrics | None = None
    weights: Metrics = {}
    last: dict[str, Metrics] = {}
    best_epoch: Count
    epochs: Count
    steps: Count
    stopped_early: bool = False
    pruned: bool = False


class GroupSummary(_Summary):
    """summary.json of a group."""

    members: Members
    diverged: Count = 0
    train: dict[str, _Described]
    dev: dict[str, _Described] | None = None
    test: dict[str, _Described] | None = None
    weights: dict[str, _Described] = {}
    best_epoch: _Described = _Described()
    epochs: _Described = _Described()
    steps: _Described = _Described()


def check_manifest(data: Mapping[str, Any], what: Path) -> None:
    """Raises DamagedRun if `data` is no manifest of a run or a group."""
    check(GroupManifest if data.get("kind") == "group" else Manifest, data, what)


def check_summary(data: Mapping[str, Any], what: Path) -> None:
    """Raises DamagedRun if `data` is no summary of a run or a group."""
    check(GroupSummary if "members" in data else RunSummary, data, what)


def check(form: type[Form], data: Mapping[str, Any], what: Path) -> None:
    """Raises DamagedRun, with the first key that is not as `form` has it, if `data` is not."""
    try:
        form.model_validate(data)
    except ValidationError as error:
        raise DamagedRun(f"{what} is damaged: {reason(error)}") from None


def reason(error: ValidationError) -> str:
    """The first thing that is wrong, such as `threads should be a valid integer, and is 'x'`."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"{where} is missing"
    rule = first["msg"].removeprefix("Input ").partition(" or instance")[0]
    return f"{where} {rule}, and is {repr(first['input'])[:40]}"
