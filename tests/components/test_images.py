"""Folders of images: classes, parts, masks, sizes, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnexp.components.datasets.images import ImageFolder
from nnexp.components.table import Table
from nnexp.errors import DataError

Image = pytest.importorskip("PIL.Image")


def put(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def colours(number: int, height: int = 5, width: int = 4) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def load(root: Path, **fields: Any) -> Table:
    return ImageFolder(path=str(root), **fields).load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["dog/b.png", "cat/a.png", "cat/c.png", "dog/a.png"]):
        put(tmp_path / name, colours(number))
    return tmp_path


def test_folders_are_classes(folder: Path) -> None:
    table = load(folder)
    assert table.ids.tolist() == ["cat/a.png", "cat/c.png", "dog/a.png", "dog/b.png"]
    assert (table.classes, table.target.tolist()) == (("cat", "dog"), [0, 0, 1, 1])
    expected = np.stack([colours(n) for n in (1, 2, 3, 0)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(table.features.numeric[:], expected)
    assert table.features.numeric.dtype == np.dtype(np.uint8)
    assert table.task == "classification"


def test_grey_and_sizes(folder: Path) -> None:
    put(folder / "cat/z.png", colours(9, 7, 7))
    with pytest.raises(DataError, match=r"z.png: is 7 × 7 pixels .*, a.png 5 × 4: set `size`"):
        load(folder)
    table = load(folder, mode="grey", size=[3, 6])
    assert table.features.shape == (1, 3, 6)
    one = Image.fromarray(colours(1)).convert("L").resize((6, 3), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(table.features.numeric[:][0, 0], np.asarray(one))


def test_parts(tmp_path: Path) -> None:
    for number, part in enumerate(["train/u", "train/v", "dev/u", "test/v"]):
        put(tmp_path / part / "x.png", colours(number))
    table = load(tmp_path)
    assert {k: v.tolist() for k, v in table.parts.items()} == {
        "train": [2, 3], "dev": [0], "test": [1],
    }  # fmt: skip
    assert table.target.tolist() == [0, 1, 0, 1]


def test_a_large_folder_lies_in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = np.array(load(folder).features.numeric[:])
    monkeypatch.setattr("nnexp.components.datasets.images.LARGE", 1)
    large = load(folder).features.numeric
    assert isinstance(large, np.memmap)
    np.testing.assert_array_equal(large, small)


def test_masks_are_classes_at_pixels(tmp_path: Path) -> None:
    marks = []
    for name in "ab":
        put(tmp_path / f"images/{name}.png", colours(ord(name)))
        marks.append(np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (5, 4)))
        put(tmp_path / f"masks/{name}.png", marks[-1])
    table = load(tmp_path / "images", masks="../masks", classes=["none", "p", "q"])
    expected = np.stack(marks).astype(np.int64)
    np.testing.assert_array_equal(table.target, np.where(expected == 255, -1, expected))
    assert (table.task, table.classes) == ("dense", ("none", "p", "q"))
    assert load(tmp_path / "images", masks="../masks").classes == ("0", "1", "2")
    with pytest.raises(DataError, match="has class 2; `classes` names 2"):
        load(tmp_path / "images", masks="../masks", classes=["none", "p"])
    put(tmp_path / "masks/b.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"b.png: is 4 × 4 pixels .*, its image b.png 5 × 4"):
        load(tmp_path / "images", masks="../masks")
    put(tmp_path / "masks/b.png", colours(0))
    with pytest.raises(DataError, match="has colours"):
        load(tmp_path / "images", masks="../masks")
    (tmp_path / "masks/b.png").unlink()
    with pytest.raises(DataError, match=r"b.png: has no mask"):
        load(tmp_path / "images", masks="../masks")


def test_what_is_wrong_is_told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load(folder / "nowhere")
    with pytest.raises(DataError, match="holds no image"):
        load(tmp_path_factory.mktemp("empty"))
    with pytest.raises(DataError, match=r"a.png: is in no class's folder"):
        load(folder / "cat")
    (folder / "readme.txt").write_text("hello")
    assert "left out what is no image: 1 file (readme.txt)" in load(folder).notes[0]
    alone = tmp_path_factory.mktemp("alone")
    put(alone / "cat/a.png", colours(0))
    with pytest.raises(DataError, match="all images are of one class, cat"):
        load(alone)
    (folder / "cat/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(DataError, match=r"broken.png: can't be read as an image"):
        load(folder)
