"""Folders of images: classes, parts, tables, masks, sizes, and what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from nnexp.components.datasets.images import ImageFolder
from nnexp.components.table import Table
from nnexp.config.experiment import Experiment
from nnexp.config.rules import without_data
from nnexp.errors import DataError, UsageError

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


def test_one_class_will_do_for_a_run_that_knows_more(tmp_path: Path) -> None:
    put(tmp_path / "cat/a.png", colours(0))
    source = ImageFolder(path=str(tmp_path))
    with pytest.raises(DataError, match="all images are of one class, cat"):
        source.load()
    table = source.knowing(["cat", "dog"]).load()
    assert (table.classes, table.target.tolist()) == (("cat",), [0])


@pytest.mark.parametrize("fields", [{}, {"labels": "../labels.csv"}, {"masks": "../masks"}])
def test_pillow_is_asked_for(
    fields: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"needs Pillow: pip install 'nnexp\[images\]'"):
        load(folder, **fields)


# -- a table of classes ----------------------------------------------------------------------------


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for number, name in enumerate(["a.png", "b.png", "more/c.jpg", "more/d.e.png"]):
        put(tmp_path / "scans" / name, colours(number))
    return tmp_path / "scans"


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("image,class\na.png,x\nb.png,y\nmore/c.jpg,x\nmore/d.e.png,z", None),
        ("more/d.e.png;z\nb.png;y\na.png;x\nmore/c.jpg;x", None),  # no header, another order
        ("id,age,breed\nd.e,1,z\na,2,x\nb,3,y\nc,4,x", ["id", "breed"]),  # without endings
        ("class\twidth\tname\nx\t5\t./more\\c.jpg\nx\t5\ta\ny\t5\tb\nz\t5\td.e.png", [2, 0]),
    ],
)
def test_a_table_has_the_classes(text: str, columns: Any, scans: Path) -> None:
    (scans.parent / "labels.csv").write_text(text)
    table = load(scans, labels="../labels.csv", **({"columns": columns} if columns else {}))
    assert table.ids.tolist() == ["a.png", "b.png", "more/c.jpg", "more/d.e.png"]
    assert (table.classes, table.target.tolist()) == (("x", "y", "z"), [0, 1, 0, 2])


def test_classes_may_be_numbers_and_the_table_may_lie_among_the_images(scans: Path) -> None:
    (scans / "labels.csv").write_text("file,class\na,1\nb,0\nc,10\nd.e,2\n")
    table = load(scans, labels="labels.csv")
    assert (table.classes, table.notes) == (("0", "1", "10", "2"), ())
    assert table.target.tolist() == [1, 0, 2, 3]
    before = table.fingerprint
    (scans / "labels.csv").write_text("file,class\na,2\nb,0\nc,10\nd.e,1\n")
    assert load(scans, labels="labels.csv").fingerprint != before
    (scans / "labels.csv").unlink()
    assert len(ImageFolder(path=str(scans), labels="labels.csv").load(labelled=False)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f,c\na,x\nb,y\nc,x\n", r"more/d\.e\.png: has no class in .*labels\.csv"),
        (
            "f,c\na,x\nb.pgn,y\n",
            r"labels\.csv:3: there is no image b\.pgn in .*; did you mean b\.png",
        ),
        ("f,c\na,x\nb,\n", r"labels\.csv:3: has no class"),
        ("f,c\na,x\n,y\n", r"labels\.csv:3: has no image"),
        ("f,c\na,x\nb,y\na.png,x\n", r"labels\.csv:4: a\.png has a class already"),
        ("f,c\na,x\nb,x\nc,x\nd.e,x\n", "all images are of one class, x"),
        ("f\na\n", r"columns: there is no column 1; there are 1"),
        ("", "labels.csv: "),
    ],
)
def test_what_is_wrong_in_a_table(text: str, message: str, scans: Path) -> None:
    (scans.parent / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load(scans, labels="../labels.csv")


def test_which_table_column_or_image_is_meant(scans: Path) -> None:
    (scans.parent / "labels.csv").write_text("file,class\na,x\n")
    with pytest.raises(DataError, match=r"label\.csv: no such file; did you mean labels\.csv"):
        load(scans, labels="../label.csv")
    with pytest.raises(DataError, match="columns: there is no column clas; did you mean class"):
        load(scans, labels="../labels.csv", columns=["file", "clas"])
    put(scans / "more/a.png", colours(7))
    (scans.parent / "labels.csv").write_text("file,class\nmore/a.png,x\na.png,y\nb,x\nc,x\nd.e,x\n")
    assert load(scans, labels="../labels.csv").target.tolist() == [1, 0, 0, 0, 0]
    put(scans / "less/b.png", colours(8))
    put(scans / "least/b.png", colours(8))
    (scans / "b.png").unlink()
    with pytest.raises(DataError, match="several images are called b; say their folders"):
        load(scans, labels="../labels.csv")


# -- coloured masks --------------------------------------------------------------------------------

COLOURS = {"sky": [0, 128, 255], "ground": "#604020", "tree": "00ff00"}
RGB = np.array([[0, 128, 255], [0x60, 0x40, 0x20], [0, 255, 0], [224, 224, 192]], np.uint8)


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Images with coloured masks, and the masks' classes, −1 for none."""
    numbers = np.random.default_rng(0).integers(0, 4, (2, 5, 4))
    for name, mask in zip("ab", numbers, strict=True):
        put(tmp_path / f"images/{name}.png", colours(ord(name)))
        put(tmp_path / f"masks/{name}.png", RGB[mask])
    return tmp_path / "images", np.where(numbers == 3, -1, numbers)


def test_colours_are_classes(drawn: tuple[Path, np.ndarray]) -> None:
    images, expected = drawn
    table = load(images, masks="../masks", colours=COLOURS, ignore="#e0e0c0")
    assert table.classes == ("sky", "ground", "tree")
    np.testing.assert_array_equal(table.target, expected)
    clear = np.full((5, 4, 1), 7, np.uint8)  # what is transparent has its colour all the same
    put(images.parent / "masks/b.png", np.concatenate([RGB[expected[1]], clear], axis=2))
    again = load(images, masks="../masks", colours=COLOURS, ignore=[224, 224, 192])
    np.testing.assert_array_equal(again.target, expected)


def test_palettes_are_numbers_or_colours(drawn: tuple[Path, np.ndarray]) -> None:
    images, expected = drawn
    for name, mask in zip("ab", np.where(expected < 0, 3, expected), strict=True):
        image = Image.fromarray(mask.astype(np.uint8)).convert("P")
        image.putdata(mask.ravel().tolist())
        image.putpalette(RGB.tobytes())
        image.save(images.parent / f"masks/{name}.png")
    by_number = load(images, masks="../masks", ignore=3)
    by_colour = load(images, masks="../masks", colours=COLOURS, ignore="E0E0C0")
    np.testing.assert_array_equal(by_number.target, expected)
    np.testing.assert_array_equal(by_colour.target, expected)
    assert by_number.classes == ("0", "1", "2")


@pytest.mark.parametrize("size", [[3, 3], [10, 4], [7, 9], [137, 251]])
def test_masks_are_resized_to_the_nearest(size: list[int], drawn: tuple[Path, np.ndarray]) -> None:
    images, expected = drawn
    table = load(images, masks="../masks", colours=COLOURS, ignore="e0e0c0", size=size)
    for mask, found in zip(expected, table.target, strict=True):
        image = Image.fromarray(np.where(mask < 0, 3, mask).astype(np.uint8))
        resized = np.array(image.resize(size[::-1], Image.Resampling.NEAREST)).astype(np.int64)
        np.testing.assert_array_equal(found, np.where(resized == 3, -1, resized))


def test_a_colour_that_is_no_class_is_told_with_its_place(drawn: tuple[Path, np.ndarray]) -> None:
    images, expected = drawn
    pixels = RGB[np.abs(expected[1])]
    pixels[3, 2] = pixels[4, 0] = [1, 2, 255]
    put(images.parent / "masks/a.png", RGB[np.abs(expected[0])])
    put(images.parent / "masks/b.png", pixels)
    message = (
        r"masks/b\.png: has the colour #0102ff at row 3, column 2, counted from 0; it is none of "
        r"`colours` \(2 such pixels\)$"
    )
    for size in (None, [2, 2]):
        with pytest.raises(DataError, match=message):
            load(images, masks="../masks", colours=COLOURS, size=size)
    (images.parent / "masks/a.png").unlink()
    put(images.parent / "masks/a.jpg", RGB[np.abs(expected[0])])
    with pytest.raises(DataError, match=r"a\.jpg: has the colour .*keep masks as PNG"):
        load(images, masks="../masks", colours=COLOURS)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"labels": "l.csv", "masks": "m"}, "labels", "not from both"),
        ({"colours": COLOURS}, "colours", "go with `masks`"),
        ({"classes": ["x"]}, "classes", "go with `masks`"),
        ({"masks": "m", "colours": COLOURS, "classes": ["x"]}, "classes", "name the classes"),
        ({"masks": "m", "ignore": "ffffff"}, "ignore", "a colour goes with `colours`"),
        ({"masks": "m", "colours": {"a": "0000ff", "b": [0, 0, 255]}}, "colours", "of its own"),
        ({"masks": "m", "colours": COLOURS, "ignore": "00ff00"}, "colours", "of its own"),
    ],
)
def test_what_does_not_go_together(
    fields: dict[str, Any], field: str, message: str, folder: Path
) -> None:
    source = {"name": "image_folder", "path": str(folder), **fields}
    model = {"name": "mlp", "hidden": [4]}
    experiment = Experiment.model_validate({"data": {"source": source}, "model": model})
    (problem,) = [p for p in without_data(experiment) if p.path.startswith("data")]
    assert problem.path == f"data.source.{field}"
    assert message in problem.message
    with pytest.raises(DataError, match=message):
        load(folder, **fields)


@pytest.mark.parametrize(
    "bad", [{"colours": {"x": [0, 0]}}, {"colours": {"x": "red"}}, {"ignore": 256}]
)
def test_what_is_no_colour(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImageFolder(path="x", masks="m", **bad)


def test_a_folder_beside_the_parts_is_odd(tmp_path: Path) -> None:
    for number, name in enumerate(["tran", "train", "test"]):
        for kind in ("cat", "dog"):
            put(tmp_path / "all" / name / kind / "a.png", colours(number))
    with pytest.raises(DataError, match=r"tran: beside train, test images can only lie in train"):
        load(tmp_path / "all")
    with pytest.raises(DataError, match=r"no such folder; did you mean all\?"):
        load(tmp_path / "alll")
    with pytest.raises(DataError, match=r"classes: a: each class needs a name of its own"):
        load(tmp_path / "all", masks="../masks", classes=["a", "a", "b"])
