"""Data that can't be used, as `nnexp train` meets them: a clear refusal, or a repair that is told.

Nothing that was refused leaves a run behind.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnexp.cli.app import run

ROWS = 40
CSV = "{name: csv, path: data.csv, target: y}"

Files = dict[str, bytes]


def rows(**cells: Callable[[int], object]) -> list[list[str]]:
    """A sound table: numbers a and b, the class y; `cells` are other columns, or replace these."""
    make: dict[str, Callable[[int], object]] = {
        "a": lambda i: i,
        "b": lambda i: (i * 7) % 11,
        "y": lambda i: "pq"[i % 2],
    }
    make |= cells
    return [list(make), *([str(cell(i)) for cell in make.values()] for i in range(ROWS))]


def text(table: list[list[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in table).encode()


def csv(**cells: Callable[[int], object]) -> Files:
    return {"data.csv": text(rows(**cells))}


def raw(content: bytes) -> Files:
    return {"data.csv": content}


def idx(values: np.ndarray) -> bytes:
    """A file of bytes in MNIST's format."""
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


IMAGES = idx(np.arange(ROWS * 16).reshape(ROWS, 4, 4) % 251)
LABELS = idx(np.arange(ROWS) % 2)
IDX = "{name: idx, images: images, labels: labels}"


def at(row: int, odd: object, usual: Callable[[int], object]) -> Callable[[int], object]:
    """A column that is odd in one row."""
    return lambda i: odd if i == row else usual(i)


def train(folder: Path, files: Files, data: str, more: str = "") -> int:
    """The exit code of `nnexp train` on these files."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    config = f"name: bad\ndata:\n{data}\nmodel: {{name: mlp, hidden: [3]}}\n"
    (folder / "bad.yaml").write_text(f"{config}training: {{epochs: 1, batch_size: 16}}\n{more}")
    return run(["train", str(folder / "bad.yaml"), "--out", str(folder / "runs")])


def source(written: str, split: str = "") -> str:
    return f"  source: {written}" + (f"\n  split: {split}" if split else "")


REFUSED: dict[str, tuple[Files, str, str, list[str]]] = {
    # name: (files, data, further keys, what the message says)
    "NaN in the target": (csv(y=at(7, "NaN", lambda i: i / 3)), source(CSV), "", []),
    "infinity in the target": (csv(y=at(7, "inf", lambda i: i / 3)), source(CSV), "", []),
    "infinity in a feature": (csv(a=at(7, "inf", lambda i: i)), source(CSV), "", []),
    "NaN in a feature, no impute": (
        csv(a=at(7, "NaN", lambda i: i)),
        source(CSV),
        "preprocessing: [standardize]\n",
        [],
    ),
    "one class": (csv(y=lambda i: "p"), source(CSV), "", []),
    "fewer examples than classes": (csv(y=lambda i: f"c{i}"), source(CSV), "", []),
    "text where numbers are stated": (
        csv(b=at(4, "many", lambda i: i)),
        source("{name: csv, path: data.csv, target: y, types: {b: numeric}}"),
        "",
        [],
    ),
    "continuous target, task classification": (
        csv(y=lambda i: i / 7),
        source(CSV),
        "task: classification\n",
        [],
    ),
    "continuous target, cross_entropy": (
        csv(y=lambda i: i / 7),
        source(CSV),
        "loss: cross_entropy\n",
        [],
    ),
    "continuous target, target_type": (
        csv(y=lambda i: i / 7),
        source("{name: csv, path: data.csv, target: y, target_type: classification}"),
        "",
        [],
    ),
    "class target, mse": (csv(), source(CSV), "loss: mse\ntask: regression\n", []),
    "ragged rows": (raw(b"a,b,y\n1,2,p\n3,4\n5,6,q\n"), source(CSV), "", []),
    "a wrong encoding": (raw("a,y\n1,gr\xf6n\n2,rot\n".encode("cp1252")), source(CSV), "", []),
    "an empty file": (raw(b""), source(CSV), "", []),
    "blank lines": (raw(b"\n\n  \n"), source(CSV), "", []),
    "header only": (raw(b"a,b,y\n"), source(CSV), "", []),
    "truncated IDX": ({"images": IMAGES[:-5], "labels": LABELS}, source(IDX), "", []),
    "truncated IDX, packed": (
        {"images": gzip.compress(IMAGES)[:-9], "labels": LABELS},
        source(IDX),
        "",
        [],
    ),
    "IDX header cut": ({"images": IMAGES[:9], "labels": LABELS}, source(IDX), "", []),
    "IDX longer than it says": ({"images": IMAGES + b"x", "labels": LABELS}, source(IDX), "", []),
    "not IDX at all": ({"images": b"hello, world", "labels": LABELS}, source(IDX), "", []),
    "labels file shorter": (
        {"images": IMAGES, "labels": idx(np.arange(ROWS - 3) % 2)},
        source(IDX),
        "",
        [],
    ),
    "labels and images swapped": ({"images": LABELS, "labels": IMAGES}, source(IDX), "", []),
    "column names repeated": (raw(b"a,a,y\n1,2,p\n3,4,q\n"), source(CSV), "", []),
    "target column absent": (
        csv(),
        source("{name: csv, path: data.csv, target: label}"),
        "",
        [],
    ),
    "nothing but the target": (raw(b"y\np\nq\np\n"), source(CSV), "", []),
    "all features missing": (csv(a=lambda i: "", b=lambda i: "NA"), source(CSV), "", []),
    "an all-missing column": (csv(b=lambda i: ""), source(CSV), "", []),
    "target all missing": (csv(y=lambda i: ""), source(CSV), "", []),
    "huge values": (csv(a=lambda i: f"{(-1) ** i}.5e308"), source(CSV), "", []),
    "huge values, no step": (
        csv(a=lambda i: f"{i}e305"),
        source(CSV),
        "preprocessing: []\n",
        [],
    ),
    "huge target": (csv(y=lambda i: f"{(-1) ** i * (1 + i / 99)}e308"), source(CSV), "", []),
    "NUL bytes": (raw(b"a,y\n1,p\n\0\0\0,q\n2,p\n3,q\n"), source(CSV), "", []),
    "gzip damaged": (
        raw((packed := gzip.compress(text(rows()), mtime=0))[:40] + b"\xff\0" + packed[42:]),
        source(CSV),
        "",
        [],
    ),
    "gzip cut": (raw(gzip.compress(text(rows()))[:60]), source(CSV), "", []),
    "one row": (raw(b"a,b,y\n1,2,p\n"), source(CSV), "", []),
    "two rows": (raw(b"a,b,y\n1,2,p\n3,4,q\n"), source(CSV), "", []),
    "test split empty": (
        csv(),
        source(CSV, "{dev: 0.2, test: 0.001}"),
        "",
        [],
    ),
    "index file of no rows": (
        csv() | {"test.txt": b""},
        source(CSV, "{test: test.txt, dev: 0.2}"),
        "",
        [],
    ),
    "index file beyond the data": (
        csv() | {"test.txt": b"1 2 40"},
        source(CSV, "{test: test.txt, dev: 0.2}"),
        "",
        [],
    ),
    "index file of all rows": (
        csv() | {"test.txt": " ".join(map(str, range(ROWS))).encode()},
        source(CSV, "{test: test.txt}"),
        "",
        [],
    ),
    "more folds than examples": (csv(), source(CSV, "{name: k_fold, folds: 41}"), "", []),
    "one group": (
        csv(g=lambda i: "g"),
        source(CSV, "{name: grouped, by: g, dev: 0.2, test: 0.2}"),
        "",
        [],
    ),
    "grouped by no column": (
        csv(),
        source(CSV, "{name: grouped, by: who}"),
        "",
        [],
    ),
    "time that is text": (
        csv(when=lambda i: "uvw"[i % 3]),
        source(CSV, "{name: ordered, by: when}"),
        "",
        [],
    ),
    "a label that is 2": (
        csv(y=lambda i: i % 3, z=lambda i: i % 2),
        source("{name: csv, path: data.csv, target: [y, z], target_type: multilabel}"),
        "",
        [],
    ),
    "columns that match nothing": (
        csv(),
        source(CSV),
        "preprocessing: [{name: standardize, columns: ['temp_*']}]\n",
        [],
    ),
    "a column misspelt": (
        csv(price=lambda i: i),
        source(CSV),
        "preprocessing: [{name: standardize, columns: [prise]}]\n",
        [],
    ),
    "log1p of -5": (csv(a=lambda i: i - 5), source(CSV), "preprocessing: [log1p]\n", []),
    "lda for regression": (csv(y=lambda i: i / 7), source(CSV), "preprocessing: [lda]\n", []),
    "text without one_hot": (
        csv(c=lambda i: "uvw"[i % 3]),
        source(CSV),
        "preprocessing: [standardize]\n",
        [],
    ),
    "no file": ({}, source(CSV), "", []),
    "a file nearly named": ({"date.csv": b"a,y\n"}, source(CSV), "", []),
}


REPAIRED: dict[str, tuple[Files, str, str, list[str]]] = {
    "NaN in a feature": (csv(a=at(7, "NaN", lambda i: i)), source(CSV), "", []),
    "a constant column": (csv(b=lambda i: 5), source(CSV), "", []),
    "a constant target": (
        csv(y=lambda i: 2.5),
        source(CSV),
        "",
        [],
    ),
    "a class absent from train": (
        csv(y=lambda i: "r" if i < 4 else "pq"[i % 2]) | {"test.txt": b"0 1 2 3"},
        source(CSV, "{test: test.txt, dev: 0.2}"),
        "",
        [],
    ),
    "a class smaller than the folds": (
        csv(y=lambda i: "r" if i < 4 else "pq"[i % 2]),
        source(CSV, "{name: k_fold, folds: 5, dev: 0.2}"),
        "",
        [],
    ),
    "10,000 columns": (
        csv(**{f"c{n}": lambda i: i % 7 for n in range(10_000)}),
        source(CSV),
        "",
        [],
    ),
    "text in one cell": (csv(b=at(4, "many", lambda i: i)), source(CSV), "", []),
    "utf-16 with its mark": (
        raw(text(rows()).decode().encode("utf-16")),
        source(CSV),
        "",
        [],
    ),
    "a tiny test share": (csv(), source(CSV, "{dev: 0.2, test: 0.001}"), "", []),
    "a category seen in dev only": (
        csv(c=lambda i: "new" if i < 2 else "uv"[i % 2]) | {"dev.txt": b"0 1 2 3 4"},
        source(CSV, "{dev: dev.txt, test: 0.2}"),
        "",
        [],
    ),
    "huge range": (csv(a=lambda i: f"{i}e100"), source(CSV), "", []),
    "tiny range": (csv(a=lambda i: f"{i}e-320"), source(CSV), "", []),
    "large offset": (csv(a=lambda i: 1e15 + i), source(CSV), "", []),
    "whole numbers, many classes": (csv(y=lambda i: i % 30), source(CSV), "", []),
    "classes that are not whole": (csv(y=lambda i: i % 3 / 2), source(CSV), "task: classification\n", []),
    "huge target, 1e300": (csv(y=lambda i: f"{i}.5e100"), source(CSV), "", []),
}
