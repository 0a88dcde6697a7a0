"""Configs that use every component with every field written out, for scripts/mutate."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError
from safetensors.numpy import save_file

from nnexp.cli.app import run
from nnexp.registry import FAMILIES

HOSTS: dict[str, dict[str, Any]] = {
    "classes": {"data": {"source": "iris"}, "model": {"name": "mlp", "hidden": [4]}},
    "numbers": {"data": {"source": "diabetes"}, "model": {"name": "mlp", "hidden": [4]}},
    "images": {"data": {"source": "digits"}, "model": {"name": "cnn"}},
    "labels": {
        "data": {
            "source": {
                "name": "csv",
                "path": "data/pumps.csv",
                "target": ["bearing", "overheating", "leak", "electrical"],
            }
        },
        "model": {"name": "linear"},
    },
    "pixels": {
        "data": {"source": {"name": "shapes", "n": 40, "size": 8}},
        "model": {"name": "unet", "channels": [2, 3]},
    },
    "words": {
        "data": {"source": {"name": "csv", "path": "words.csv", "target": "y"}},
        "model": {"name": "linear"},
    },
    "sequences": {
        "data": {"source": {"name": "sequences", "path": "phrases.csv"}},
        "model": {"name": "gru", "units": 4},
    },
    "running": {
        "data": {"source": {"name": "corpus", "path": "verse.txt", "min_count": 1, "length": 12}},
        "model": {"name": "skip_gram", "width": 3, "window": 2},
    },
}
"""Small configs, to one of which any component can be added."""

LAYERS: list[list[Any]] = [
    ["it", "linear"],
    ["it", "flatten", "linear"],
    ["flatten", {"name": "reshape", "shape": [1, 64]}, "it", "flatten", "linear"],
    ["flatten", "it", "flatten", "linear"],
    ["it"],
    ["it", "word_output"],
    [{"name": "word_input", "width": 3, "window": 2}, "it"],
]
"""Networks around a layer, of which the first that works is taken."""

REQUIRED: dict[str, dict[str, Any]] = {
    "sequential": {"layers": [{"name": "linear", "units": 3}, "relu", "linear"]},
    "conv1d": {"channels": 2},
    "conv2d": {"channels": 2},
    "conv_transpose2d": {"channels": 2},
    "concat": {"layers": ["tanh"]},
    "resnet": {"blocks": [1, 1], "channels": [2, 3]},
    "wide_resnet": {"depth": 10, "widen": 1},
    "deep_cnn": {"depth": 5, "channels": 3},
    "residual": {"blocks": 1, "width": 4, "layers": [{"name": "linear", "units": 64}]},
    "rbf": {"units": 8},
    "reshape": {"shape": [1, 64]},
    "embedding": {"codes": 9, "width": 3},
    "embed_columns": {"codes": [9, *[0] * 63]},
    "text": {"path": "verse.txt", "length": 8},
    "corpus": {"path": "verse.txt", "min_count": 1, "length": 12},
    "skip_gram": {"window": 2},
    "cbow": {"window": 2},
    "word_input": {"window": 2},
    "sequences": {"path": "phrases.csv"},
    "multi_step": {"milestones": [1, 2]},
    "l1": {"coefficient": 0.1},
    "l2": {"coefficient": 0.1},
    "max_norm": {"coefficient": 2.0},
    "weight_decay": {"coefficient": 0.1},
    "from_run": {"path": "weights.safetensors"},
    "npy": {"features": "x.npy", "targets": "y.npy"},
    "npz": {"path": "both.npz"},
    "grouped": {"by": "sepal length (cm)"},
}
"""Fields without a default; those that a component does not have are left out."""
ELSEWHERE = {"memory"}
"""What no config can name: data that a program holds."""

BY_LAYER = """\
name: by-layer
task: classification
data:
  source: {name: blobs, n: 120, classes: 3}
  split: {name: k_fold, folds: 4, fold: 1, dev: 0.2, stratify: true}
  subset: 60
  label_noise: 0.1
  corruption: {gaussian: 0.1, mask: 0.2}
preprocessing:
  - {name: standardize, columns: [x1, "x*"]}
model: {name: mlp, hidden: [8, 6], activation: {name: elu, alpha: 0.5}, dropout: 0.2}
initialization:
  name: he_normal
  scale: 0.5
  layers:
    output: {name: constant, value: 0.1}
    first: glorot_uniform
loss:
  name: cross_entropy
  class_weights: balanced
regularization:
  l2: {coefficient: 1e-4, layers: {hidden: 0.5}, biases: true}
  max_norm: 3
sampler: {name: class_balanced}
optimizer:
  name: nesterov
  lr: 0.01
  layers: {first: 0.1, "0.linear": 0.5, output: 0}
schedule:
  name: cosine
  warmup: {epochs: 2}
metrics: [accuracy, {name: top_k, k: 2}, {name: f1}]
training:
  epochs: 4
  batch_size: 16
  early_stopping: {monitor: dev/loss, patience: 3}
  clip_grad_norm: 1.0
  max_minutes: 1
"""
"""What the other configs do not say: fields by layer, and those of no component."""


class _Indented(yaml.SafeDumper):
    """Writes lists further right than their key, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def configs(folder: Path) -> dict[str, str]:
    """Valid configs, by their file names; they are tried in `folder`, which holds data/.

    RuntimeError for a component that no host can take, so that none is left out unnoticed.
    """
    _write_data(folder)
    found = {"by-layer.yaml": BY_LAYER}
    if not _valid(folder, BY_LAYER):
        raise RuntimeError("by-layer.yaml is not valid any more")
    for host, parts in _at_home(folder).items():
        for some in zip_longest(*parts.values()):
            config = copy.deepcopy(HOSTS[host])
            for part in filter(None, some):
                if not _valid(folder, _text(config | part)):  # it does not suit the others
                    found[f"every-{len(found)}.yaml"] = _text(HOSTS[host] | part)
                else:
                    config |= part
            found[f"every-{len(found)}.yaml"] = _text(config)
    return found


def _write_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    np.savez(folder / "both.npz", x=x, y=y)
    save_file({"0.weight": x.astype(np.float32)}, folder / "weights.safetensors")
    rows = [f"{'uvw'[i % 3]},{'st'[i % 7 % 2]},{'pq'[i % 2]}\n" for i in range(60)]
    (folder / "words.csv").write_text("".join(["c,d,y\n", *rows]))
    rows = [f"{'uvw'[i % 3]} {'st'[i % 7 % 2]},{'pq'[i % 2]}\n" for i in range(60)]
    (folder / "phrases.csv").write_text("".join(["text,y\n", *rows]))
    (folder / "verse.txt").write_text("the rain in spain stays mainly in the plain\n" * 9)


def _at_home(folder: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """By host and key, what each component adds to the first host that takes it."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {host: {} for host in HOSTS}
    for family in FAMILIES:
        for member in _members(family):
            for host, way in product(HOSTS, range(len(LAYERS) if family == "layer" else 1)):
                part = _part(family, member, HOSTS[host], way)
                if _valid(folder, _text(HOSTS[host] | part)):
                    found[host].setdefault(next(iter(part)), []).append(part)
                    break
            else:
                raise RuntimeError(f"no host for {family}.{member['name']}")
    return found


def _part(family: str, member: dict[str, Any], host: dict[str, Any], way: int) -> dict[str, Any]:
    """What stands in a config for the component."""
    if family in ("dataset", "split"):
        return {"data": host["data"] | {"source" if family == "dataset" else family: member}}
    if family == "activation":
        return {"model": {"name": "mlp", "hidden": [4], "activation": member}}
    if family == "layer":
        layers = [member if layer == "it" else layer for layer in LAYERS[way]]
        return {"model": {"name": "sequential", "layers": layers}}
    if family == "regularization":
        return {family: {member["name"]: {k: v for k, v in member.items() if k != "name"}}}
    if family in ("preprocessing", "metric"):
        return {"metrics" if family == "metric" else family: [member]}
    if family == "baseline":
        return {"baselines": [member]}
    if family == "augmentation":
        return {family: [member]}
    if family == "optimizer" and getattr(FAMILIES[family].registered[member["name"]], "full_batch"):
        return {family: member, "training": {"batch_size": "full"}}
    return {family: member}


def _members(family: str) -> Iterator[dict[str, Any]]:
    """Every component with its fields written out, but for those that name files or columns."""
    for name, kind in sorted(FAMILIES[family].registered.items()):
        if name in ELSEWHERE:
            continue
        needed = {k: v for k, v in REQUIRED.get(name, {}).items() if k in kind.model_fields}
        try:
            fields = kind.model_validate({"name": name, **needed}).dump()
        except ValidationError:
            continue  # it needs a file
        yield {key: value for key, value in fields.items() if value not in (None, [], {})}


def _text(config: dict[str, Any]) -> str:
    return yaml.dump(config, Dumper=_Indented, sort_keys=False, allow_unicode=True)


def _valid(folder: Path, text: str) -> bool:
    path = folder / "trial.yaml"
    path.write_text(text)
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        code = run(["show", "--resolved", str(path)])
    path.unlink()
    return code == 0
