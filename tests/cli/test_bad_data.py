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
    "NaN in the target": (
        csv(y=at(7, "NaN", lambda i: i / 3)),
        source(CSV),
        "",
        ["data.csv: target y has no finite value in 1 row (line 9)"],
    ),
    "infinity in the target": (
        csv(y=at(7, "inf", lambda i: i / 3)),
        source(CSV),
        "",
        ["data.csv: target y has no finite value in 1 row (line 9)"],
    ),
    "infinity in a feature": (
        csv(a=at(7, "inf", lambda i: i)),
        source(CSV),
        "",
        [
            (
                "there are infinite values, which no step repairs: 1 in a; correct them, or "
                "leave the column out"
            )
        ],
    ),
    "NaN in a feature, no impute": (
        csv(a=at(7, "NaN", lambda i: i)),
        source(CSV),
        "preprocessing: [standardize]\n",
        [("bad.yaml:6:17: preprocessing.0: there are missing values in a: put `impute` before it")],
    ),
    "one class": (
        csv(y=lambda _: "p"),
        source(CSV),
        "",
        ["target y: there is one class only, p, in 24 training examples: nothing to tell apart"],
    ),
    "fewer examples than classes": (
        csv(y=lambda i: f"c{i}"),
        source(CSV),
        "",
        [
            (
                "target y: there are 24 training examples for 40 classes; does it identify "
                "the examples?"
            )
        ],
    ),
    "text where numbers are stated": (
        csv(b=at(4, "many", lambda i: i)),
        source("{name: csv, path: data.csv, target: y, types: {b: numeric}}"),
        "",
        ["data.csv: column b is not numeric: 'many' in line 6"],
    ),
    "continuous target, task classification": (
        csv(y=lambda i: i / 7),
        source(CSV),
        "task: classification\n",
        [
            (
                "target y: there are 24 training examples for 40 classes; is it a number to "
                "predict (`target_type: regression`)?"
            )
        ],
    ),
    "continuous target, cross_entropy": (
        csv(y=lambda i: i / 7),
        source(CSV),
        "loss: cross_entropy\n",
        [
            "bad.yaml:6:7: loss: is for classes, and the target (y) has real-valued targets",
            "'cross_entropy'",
            "mse for numbers; for numbers that stand for classes: task: classification",
        ],
    ),
    "continuous target, target_type": (
        csv(y=lambda i: i / 7),
        source("{name: csv, path: data.csv, target: y, target_type: classification}"),
        "",
        [
            (
                "target y: there are 24 training examples for 40 classes; is it a number to "
                "predict (`target_type: regression`)?"
            )
        ],
    ),
    "class target, mse": (
        csv(),
        source(CSV),
        "loss: mse\ntask: regression\n",
        ["target y: holds text, such as 'p', not numbers to predict"],
    ),
    "ragged rows": (
        raw(b"a,b,y\n1,2,p\n3,4\n5,6,q\n"),
        source(CSV),
        "",
        ["data.csv:3: has 2 fields where the first row has 3"],
    ),
    "a wrong encoding": (
        raw("a,y\n1,gr\xf6n\n2,rot\n".encode("cp1252")),
        source(CSV),
        "",
        [("data.csv:2: is not utf-8 text (byte 0xf6); set `encoding`, such as cp1252 or latin-1")],
    ),
    "an empty file": (raw(b""), source(CSV), "", ["data.csv: is empty"]),
    "blank lines": (raw(b"\n\n  \n"), source(CSV), "", ["data.csv: is empty"]),
    "header only": (raw(b"a,b,y\n"), source(CSV), "", ["data.csv: has a header but no rows"]),
    "truncated IDX": (
        {"images": IMAGES[:-5], "labels": LABELS},
        source(IDX),
        "",
        ["images: is truncated: 40 × 4 × 4 values take 640 bytes"],
    ),
    "truncated IDX, packed": (
        {"images": gzip.compress(IMAGES)[:-9], "labels": LABELS},
        source(IDX),
        "",
        ["images: the gzip file is damaged"],
    ),
    "IDX header cut": (
        {"images": IMAGES[:9], "labels": LABELS},
        source(IDX),
        "",
        ["images: is truncated within its header"],
    ),
    "IDX longer than it says": (
        {"images": IMAGES + b"x", "labels": LABELS},
        source(IDX),
        "",
        ["images: is longer than it says: 40 × 4 × 4 values take 640 bytes"],
    ),
    "not IDX at all": (
        {"images": b"hello, world", "labels": LABELS},
        source(IDX),
        "",
        ["images: is not an IDX file (it begins with 68656c6c)"],
    ),
    "labels file shorter": (
        {"images": IMAGES, "labels": idx(np.arange(ROWS - 3) % 2)},
        source(IDX),
        "",
        ["labels: has 37 labels for 40 examples"],
    ),
    "labels and images swapped": (
        {"images": LABELS, "labels": IMAGES},
        source(IDX),
        "",
        ["labels: labels have shape (40, 4, 4); [n] or numbers [n, k] expected"],
    ),
    "column names repeated": (
        raw(b"a,a,y\n1,2,p\n3,4,q\n"),
        source(CSV),
        "",
        [("data.csv:1: column names are repeated: a; if there are no names, set `header: false`")],
    ),
    "target column absent": (
        csv(),
        source("{name: csv, path: data.csv, target: label}"),
        "",
        ["data.csv: target: there is no column label (there are: a, b, y)"],
    ),
    "nothing but the target": (
        raw(b"y\np\nq\np\n"),
        source(CSV),
        "",
        ["data.csv: there is no column beside the target"],
    ),
    "all features missing": (
        csv(a=lambda _: "", b=lambda _: "NA"),
        source(CSV),
        "",
        ["preprocessing: impute: no value in any training row: a, b; `drop` them"],
    ),
    "an all-missing column": (
        csv(b=lambda _: ""),
        source(CSV),
        "",
        ["preprocessing: impute: no value in any training row: b; `drop` it"],
    ),
    "target all missing": (
        csv(y=lambda _: ""),
        source(CSV),
        "",
        ["data.csv: target y has no finite value in 40 rows (line 2, 3, 4, 5, 6, …)"],
    ),
    "huge values": (
        csv(a=lambda i: f"{(-1) ** i}.5e308"),
        source(CSV),
        "",
        [
            (
                "preprocessing: standardize: the values are too large to compute with: a "
                "goes to ±1.5e+308; correct or rescale them"
            )
        ],
    ),
    "huge values, no step": (
        csv(a=lambda i: f"{i}e305"),
        source(CSV),
        "preprocessing: []\n",
        [
            (
                "preprocessing: some values are too large for float32 (a goes to ±3.9e+306): "
                "add `standardize`"
            )
        ],
    ),
    "huge target": (
        csv(y=lambda i: f"{(-1) ** i * (1 + i / 99)}e308"),
        source(CSV),
        "",
        [
            (
                "target y: the values are too large to compute with (up to ±1.38e+308): "
                "correct or rescale them"
            )
        ],
    ),
    "NUL bytes": (
        raw(b"a,y\n1,p\n\0\0\0,q\n2,p\n3,q\n"),
        source(CSV),
        "",
        [
            (
                "data.csv:3: holds a NUL character: is it damaged, or written in another "
                "`encoding`, such as utf-16?"
            )
        ],
    ),
    "gzip damaged": (
        raw((packed := gzip.compress(text(rows()), mtime=0))[:40] + b"\xff\0" + packed[42:]),
        source(CSV),
        "",
        ["data.csv: the gzip file is damaged"],
    ),
    "gzip cut": (
        raw(gzip.compress(text(rows()))[:60]),
        source(CSV),
        "",
        ["data.csv: the gzip file is damaged"],
    ),
    "one row": (
        raw(b"a,b,y\n1,2,p\n"),
        source(CSV),
        "",
        ["data.split.dev: would be empty (0.2 of 1 example)"],
    ),
    "two rows": (
        raw(b"a,b,y\n1,2,p\n3,4,q\n"),
        source(CSV),
        "",
        ["data.split.test: would be empty (0.2 of 2 examples)"],
    ),
    "index file of no rows": (
        csv() | {"test.txt": b""},
        source(CSV, "{test: test.txt, dev: 0.2}"),
        "",
        ["test.txt: is empty"],
    ),
    "index file beyond the data": (
        csv() | {"test.txt": b"1 2 40"},
        source(CSV, "{test: test.txt, dev: 0.2}"),
        "",
        ["test.txt: row 40 does not exist; rows are 0 to 39"],
    ),
    "index file of all rows": (
        csv() | {"test.txt": " ".join(map(str, range(ROWS))).encode()},
        source(CSV, "{test: test.txt}"),
        "",
        ["data.split: no example is left to train on"],
    ),
    "more folds than examples": (
        csv(),
        source(CSV, "{name: k_fold, folds: 41}"),
        "",
        ["data.split.folds: there are 40 examples for 41 folds"],
    ),
    "one group": (
        csv(g=lambda _: "g"),
        source(CSV, "{name: grouped, by: g, dev: 0.2, test: 0.2}"),
        "",
        ["data.split.dev: would be empty (column g has 1 different value)"],
    ),
    "grouped by no column": (
        csv(),
        source(CSV, "{name: grouped, by: who}"),
        "",
        ["data.split.by: there is no column who (there are: a, b)"],
    ),
    "time that is text": (
        csv(when=lambda i: "uvw"[i % 3]),
        source(CSV, "{name: ordered, by: when}"),
        "",
        ["data.split.by: column when holds neither numbers nor dates ('u' is no date)"],
    ),
    "a label that is 2": (
        csv(y=lambda i: i % 3, z=lambda i: i % 2),
        source("{name: csv, path: data.csv, target: [y, z], target_type: multilabel}"),
        "",
        [
            (
                "data.csv: target y is a label but neither 0 nor 1 in 13 rows (line 4, 7, "
                "10, 13, 16, …)"
            )
        ],
    ),
    "columns that match nothing": (
        csv(),
        source(CSV),
        "preprocessing: [{name: standardize, columns: ['temp_*']}]\n",
        ["bad.yaml:6:17: preprocessing.0: columns: no column matches temp_*"],
    ),
    "a column misspelt": (
        csv(price=lambda i: i),
        source(CSV),
        "preprocessing: [{name: standardize, columns: [prise]}]\n",
        [("bad.yaml:6:17: preprocessing.0: columns: no column matches prise; did you mean price?")],
    ),
    "log1p of -5": (
        csv(a=lambda i: i - 5),
        source(CSV),
        "preprocessing: [log1p]\n",
        [
            (
                "log1p: is for values from 0, and there are negative ones in a (down to -5); "
                "choose others by `columns`"
            )
        ],
    ),
    "lda for regression": (
        csv(y=lambda i: i / 7),
        source(CSV),
        "preprocessing: [lda]\n",
        [
            (
                "bad.yaml:6:17: preprocessing.0: needs classes to tell apart, and the target "
                "is real-valued; pca needs none"
            )
        ],
    ),
    "text without one_hot": (
        csv(c=lambda i: "uvw"[i % 3]),
        source(CSV),
        "preprocessing: [standardize]\n",
        ["bad.yaml:6:1: preprocessing: columns c hold text: add `one_hot`"],
    ),
    "no file": ({}, source(CSV), "", ["data.csv: no such file"]),
    "a file nearly named": (
        {"date.csv": b"a,y\n"},
        source(CSV),
        "",
        ["data.csv: no such file; did you mean date.csv?"],
    ),
}


REPAIRED: dict[str, tuple[Files, str, str, list[str]]] = {
    "NaN in a feature": (csv(a=at(7, "NaN", lambda i: i)), source(CSV), "", []),
    "a constant column": (
        csv(b=lambda _: 5),
        source(CSV),
        "",
        ["standardize: constant in training, so only centred: b"],
    ),
    "a constant target": (
        csv(y=lambda _: 2.5),
        source(CSV),
        "",
        ["target y has one value only in training"],
    ),
    "a class absent from train": (
        csv(y=lambda i: "r" if i < 4 else "pq"[i % 2]) | {"test.txt": b"0 1 2 3"},
        source(CSV, "{test: test.txt, dev: 0.2}"),
        "",
        [
            "split: train has no example of class r",
            "split: dev has no example of class r",
            "split: test has no example of class p, q",
        ],
    ),
    "a class smaller than the folds": (
        csv(y=lambda i: "r" if i < 4 else "pq"[i % 2]),
        source(CSV, "{name: k_fold, folds: 5, dev: 0.2}"),
        "",
        [
            "split: test has no example of class r",
            (
                "split: class r has fewer examples (4) than there are folds (5): not every "
                "fold has one"
            ),
        ],
    ),
    "10,000 columns": (
        csv(**{f"c{n}": lambda i: i % 7 for n in range(10_000)}),
        source(CSV),
        "",
        [],
    ),
    "text in one cell": (
        csv(b=at(4, "many", lambda i: i)),
        source(CSV),
        "",
        [
            (
                "column b is text because 1 value is not a number (first: 'many' in line 6); "
                "what means nothing should be added to `missing`"
            ),
            (
                "one_hot: b has 24 categories in 24 rows: does it identify the rows? `drop` "
                "it, or set `min_frequency`"
            ),
            "b: category unseen in training, taken as none (16 rows)",
        ],
    ),
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
        ["c: category unseen in training, taken as none (2 rows)"],
    ),
    "huge range": (csv(a=lambda i: f"{i}e100"), source(CSV), "", []),
    "tiny range": (
        csv(a=lambda i: f"{i}e-320"),
        source(CSV),
        "",
        ["standardize: constant in training, so only centred: a"],
    ),
    "large offset": (csv(a=lambda i: 1e15 + i), source(CSV), "", []),
    "whole numbers, many classes": (
        csv(y=lambda i: i % 30),
        source(CSV),
        "",
        [
            (
                "target y: its 30 different whole numbers are taken as numbers; "
                "`target_type: classification` takes them as classes"
            )
        ],
    ),
    "classes that are not whole": (
        csv(y=lambda i: i % 3 / 2),
        source(CSV),
        "task: classification\n",
        [],
    ),
    "huge target, 1e300": (
        csv(y=lambda i: f"{i}.5e100"),
        source(CSV),
        "",
        [
            (
                "target y: its 40 different whole numbers are taken as numbers; "
                "`target_type: classification` takes them as classes"
            )
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, data, more, says = REFUSED[case]
    code = train(tmp_path, files, data, more)
    told = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert code == (2 if says[0].startswith("bad.yaml:") else 3)
    assert says
    for line in says:
        assert line in told
    assert "Traceback" not in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("case", REPAIRED)
def test_repaired(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, data, more, says = REPAIRED[case]
    assert train(tmp_path, files, data, more) == 0
    told = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    for line in says:
        assert line in told
    (summary,) = (tmp_path / "runs").glob("*/*/summary.json")
    assert all(np.isfinite(value) for value in losses(json.loads(summary.read_text())))


def losses(summary: Any) -> list[float]:
    """Every number called loss in a summary."""
    if not isinstance(summary, dict):
        return []
    here = [v for k, v in summary.items() if k == "loss" and isinstance(v, float)]
    return here + [v for inner in summary.values() for v in losses(inner)]


def test_a_folder_for_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.csv").mkdir()
    assert train(tmp_path, {}, source(CSV)) == 3
    assert f"{tmp_path}/data.csv: is not a file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.csv").write_bytes(text(rows()))
    (tmp_path / "data.csv").chmod(0)
    assert train(tmp_path, {}, source(CSV)) == 3
    assert "data.csv: can't be read (permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("subset", [25, 2**53])
def test_a_subset_larger_than_the_data(
    subset: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, csv(), source(CSV) + f"\n  subset: {subset}") == 3
    said = f"data.subset: {subset:,} are more than the 24 training examples there are"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_subset_of_one_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, csv(), source(CSV) + "\n  subset: 1") == 3
    assert "one class only" in capsys.readouterr().err
