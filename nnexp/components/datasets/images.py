"""Folders of images: a folder a class, a table of classes, or a mask beside each image."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, PrivateAttr

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.datasets.delimited import Form, position, read_columns, read_names
from nnexp.components.table import Features, FileInfo, Table, existing_file, file_info
from nnexp.errors import DataError, UsageError, count, nearest
from nnexp.registry import param, rule

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
PARTS = ("train", "dev", "test")
LARGE = 2**29
"""Bytes of pixels from which they lie in a temporary file rather than in memory."""
Side = Annotated[int, Field(ge=1, le=16_384)]
Byte = Annotated[int, Field(ge=0, le=255)]


def _hex(text: str) -> str:
    if not re.fullmatch("#?[0-9a-fA-F]{6}", text):
        raise rule("is no colour", allowed='"#rrggbb" in quotes, or [red, green, blue]')
    return text


Colour = (
    Annotated[list[Byte], Field(min_length=3, max_length=3)] | Annotated[str, AfterValidator(_hex)]
)


class ImageFolder(Dataset):
    """Images in folders: `path/class/image.png`, or with `masks` a class at every pixel.

    Folders called train, dev and test above the classes are the parts of the data. Images are in
    the order of their names, and called by them. With `labels`, a table has the classes: it calls
    an image by its name below `path`, by the file's own name, or by one of these without the ending
    (whichever only one image has). A mask has its image's name (its ending may differ) and at each
    pixel a class's number, which may be that of a palette, or with `colours` a class's colour;
    `ignore` marks pixels without a class.

    Use: for pictures as they are stored everywhere; it needs Pillow (`nnexp[images]`).
    """

    name: Literal["image_folder"] = "image_folder"
    also = ("images", "imagefolder", "folder")
    paths = ("path",)
    path: str = param(..., "folder of the images", min_length=1)
    mode: Literal["grey", "rgb"] = param("rgb", "one channel or three", also=("color", "colour"))
    size: list[Side] | None = param(
        None,
        "height and width to which images are brought (bilinear; masks: nearest)",
        unit="pixels",
        min_length=2,
        max_length=2,
        when="null: they must all have the same",
    )
    labels: str | None = param(
        None,
        "table of the images' classes (CSV), relative to `path`, such as ../labels.csv",
        min_length=1,
        also=("csv", "annotations", "labels_file"),
    )
    columns: list[int | str] = param(
        [0, 1],
        "the table's columns with image and class, by name or number",
        min_length=2,
        max_length=2,
    )
    masks: str | None = param(
        None, "folder of the masks, relative to `path`, such as ../masks", min_length=1
    )
    classes: list[str] = param(
        [], "names of the masks' classes, from number 0", max_length=255, when="[]: their numbers"
    )
    colours: dict[str, Colour] = param(
        {},
        'the classes\' colours in masks, each [red, green, blue] or "#rrggbb"',
        max_length=255,
        also=("colors", "palette"),
        when="{}: masks have numbers",
    )
    ignore: Byte | Colour = param(
        255, "number, or with `colours` the colour, of the pixels without a class in masks"
    )
    _known: bool = PrivateAttr(False)

    def conflicts(self) -> list[tuple[str, str]]:
        found = []
        if self.labels and self.masks:
            found.append(("labels", "classes come from `labels` or from `masks`, not from both"))
        for field in ("classes", "colours"):
            if getattr(self, field) and not self.masks:
                found.append((field, f"`{field}` go with `masks`"))
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if twice:
            found.append(("classes", f"{', '.join(twice)}: each class needs a name of its own"))
        if self.classes and self.colours:
            found.append(("classes", "`colours` name the classes"))
        ignored = not isinstance(self.ignore, int)
        if ignored and not self.colours:
            found.append(("ignore", "a colour goes with `colours`"))
        elif len(self._numbers()) < len(self.colours) + ignored:
            found.append(("colours", "each class, and `ignore`, needs a colour of its own"))
        return found

    def knowing(self, classes: Sequence[str]) -> Self:
        found = self.model_copy()
        found._known = True
        return found

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        base = Path(root) / self.path
        _check_folder(base)
        for field, message in self.conflicts():
            raise DataError(f"{field}: {message}")
        found = self._files(base)
        files = [p for p in found if p.suffix.lower() in SUFFIXES]
        if not files:
            raise DataError(f"{base}: holds no image ({', '.join(SUFFIXES)})")
        ids = [p.relative_to(base).as_posix() for p in files]
        if labelled:
            _check_parts(base, ids)
        pixels = self._pixels(files)
        target, classes, used = np.empty((len(files), 0)), None, list(files)
        if labelled and self.masks:
            paired = [_mask(base, (base / self.masks).resolve(), p) for p in files]
            target, classes = self._masked(paired, files, pixels.shape[2:])
            used += paired
        elif labelled:
            names = self._listed(base, ids) if self.labels else _folders(base, ids)
            target, classes = self._numbered(base, names)
            used += [base / self.labels] if self.labels else []
        other = len(found) - len(files)
        note = f"{base}: left out what is no image: {count(other, 'file')} ({_left_out(found)})"
        return Table(
            features=Features.of(pixels),
            target=target,
            classes=classes,
            target_names=("class",) if classes is not None else (),
            ids=np.array(ids),
            parts=_parts(ids),
            files=(_digest(base, used),),
            notes=(note,) if other else (),
        )

    def _files(self, base: Path) -> list[Path]:
        """What lies below the folder, but for masks and the table of classes."""
        found = sorted(p for p in base.rglob("*") if p.is_file())
        if self.masks:
            masks = (base / self.masks).resolve()
            found = [p for p in found if masks not in p.resolve().parents]
        if self.labels:
            labels = (base / self.labels).resolve()
            found = [p for p in found if p.resolve() != labels]
        return found

    def _pixels(self, files: Sequence[Path]) -> np.ndarray:
        """All images, uint8 `[n, C, H, W]`."""
        first = self._image(files[0], None)
        shape = (len(files), *first.shape)
        pixels: np.ndarray
        if int(np.prod(shape)) < LARGE:
            pixels = np.empty(shape, np.uint8)
        else:  # the file has no name: it is gone with the last that uses it
            with tempfile.TemporaryFile() as file:
                pixels = np.memmap(file, np.uint8, "w+", shape=shape)
        for number, path in enumerate(files):
            pixels[number] = self._image(path, files[0] if number else None, first.shape)
        return pixels

    def _image(self, path: Path, other: Path | None, shape: tuple[int, ...] = ()) -> np.ndarray:
        grey = self.mode == "grey"
        pixels = read_pixels(path, "L" if grey else "RGB", self.size)
        pixels = pixels[None] if grey else np.moveaxis(pixels, 2, 0)
        if other is not None and pixels.shape != shape:
            raise DataError(
                f"{path}: is {_size(pixels.shape)} pixels (height × width), {other.name} "
                f"{_size(shape)}: set `size`, to which all are brought"
            )
        return pixels

    # -- classes -----------------------------------------------------------------------------------

    def _numbered(self, base: Path, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Each image's class `[n]`, by the names of their classes."""
        classes = tuple(sorted(set(names)))
        if len(classes) == 1 and not self._known:
            raise DataError(f"{base}: all images are of one class, {classes[0]}")
        index = {name: number for number, name in enumerate(classes)}
        return np.array([index[name] for name in names], np.int64), classes

    def _listed(self, base: Path, ids: Sequence[str]) -> list[str]:
        """The images' classes as the table has them."""
        assert self.labels is not None
        path, places = existing_file(base, self.labels), _places(ids)
        form, names = read_names(path, Form(missing=("",)))
        which = [position(path, key, names, "columns") for key in self.columns]
        if _plain(names[which[0]]) in places:  # what looks like names is the first image
            form = Form(header=False, missing=("",))
        columns = read_columns(path, form, dict.fromkeys(which, "categorical"))
        found: list[str | None] = [None] * len(ids)
        rows = zip(columns.lines, *(columns.values[i] for i in which), strict=True)
        for line, image, label in rows:
            here = f"{path}:{line}"
            if image is None or label is None:
                raise DataError(f"{here}: has no {'class' if image else 'image'}")
            place = places.get(_plain(image))
            if place is None:
                close = nearest(image, ids)
                hint = f"; did you mean {close}?" if close else ""
                raise DataError(f"{here}: there is no image {image} in {base}{hint}")
            if place < 0:
                raise DataError(f"{here}: several images are called {image}; say their folders")
            if found[place] is not None:
                raise DataError(f"{here}: {image} has a class already")
            found[place] = label
        if None in found:
            raise DataError(f"{base / ids[found.index(None)]}: has no class in {path}")
        return [label for label in found if label is not None]

    # -- masks -------------------------------------------------------------------------------------

    def _masked(
        self, masks: Sequence[Path], files: Sequence[Path], size: tuple[int, ...]
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """The class at each pixel, int64 `[n, H, W]`, and the classes' names."""
        target = np.empty((len(masks), *size), np.int64)
        numbers = self._numbers()
        for number, (path, image) in enumerate(zip(masks, files, strict=True)):
            values = _by_colour(path, numbers) if numbers else self._by_number(path)
            if self.size is not None:
                values = _nearest(values, self.size)
            if values.shape != size:
                raise DataError(
                    f"{path}: is {_size(values.shape)} pixels (height × width), its image "
                    f"{image.name} {_size(size)}"
                )
            target[number] = values
        if self.colours:
            return target, tuple(self.colours)
        top = int(target.max())
        if self.classes and top >= len(self.classes):
            bad = masks[int(np.argmax(target.reshape(len(target), -1).max(1)))]
            raise DataError(f"{bad}: has class {top}; `classes` names {len(self.classes)}, from 0")
        return target, tuple(self.classes or map(str, range(max(top, 0) + 1)))

    def _by_number(self, path: Path) -> np.ndarray:
        """A mask's classes, int64 `[H, W]`, −1 for none; of a palette its numbers."""
        values = read_pixels(path, None).astype(np.int64)
        if values.ndim != 2:
            raise DataError(
                f"{path}: has colours: give the classes' `colours`, or masks of one number a pixel"
            )
        return np.where(values == self.ignore, -1, values)

    def _numbers(self) -> dict[int, int]:
        """The class of each colour, 0xrrggbb; −1 for `ignore`."""
        found = {_packed(colour): number for number, colour in enumerate(self.colours.values())}
        if self.colours and not isinstance(self.ignore, int):
            found[_packed(self.ignore)] = -1
        return found


def read_pixels(path: Path, mode: str | None, size: Sequence[int] | None = None) -> np.ndarray:
    """An image's pixels, uint8 `[H, W]` or `[H, W, 3]`.

    mode: "L" or "RGB"; None for the numbers as they are stored. size: height and width to bring it
    to. Raises DataError; UsageError without Pillow.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(
            f"{path}: reading images needs Pillow: pip install 'nnexp[images]'"
        ) from None
    try:
        with Image.open(path) as opened:
            if opened.mode.startswith(("I", "F")):
                raise DataError(f"{path}: has more than 8 bits a channel")
            image: Any = opened.convert(mode) if mode else opened
            if size is not None:
                image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            return np.array(image, np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).partition("\n")[0].replace(f" {str(path)!r}", "")
        raise DataError(f"{path}: can't be read as an image ({reason})") from None


def _mask(base: Path, masks: Path, image: Path) -> Path:
    """The mask of an image: of the same name but for its ending."""
    place = masks / image.relative_to(base)
    for suffix in (place.suffix, *SUFFIXES):
        if place.with_suffix(suffix).is_file():
            return place.with_suffix(suffix)
    raise DataError(f"{image}: has no mask, such as {place.with_suffix('.png')}")


def _packed(colour: Colour) -> int:
    """0xrrggbb."""
    if isinstance(colour, str):
        return int(colour.removeprefix("#"), 16)
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _by_colour(path: Path, numbers: Mapping[int, int]) -> np.ndarray:
    """A mask's classes, int64 `[H, W]`, by the colours' numbers."""
    values = read_pixels(path, "RGB").astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    known = np.array(sorted(numbers))
    place = np.searchsorted(known, values).clip(max=len(known) - 1)
    if len(wrong := np.argwhere(known[place] != values)):
        y, x = wrong[0]
        lossy = path.suffix.lower() in (".jpg", ".jpeg")
        raise DataError(
            f"{path}: has the colour #{values[y, x]:06x} at row {y}, column {x}, counted from 0; "
            f"it is none of `colours` ({count(len(wrong), 'such pixel')})"
            + ("; JPEG changes colours: keep masks as PNG" if lossy else "")
        )
    classes: np.ndarray = np.array([numbers[key] for key in known.tolist()], np.int64)[place]
    return classes


def _nearest(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A mask's classes brought to another height and width, as Pillow does it."""
    from PIL import Image

    image = Image.fromarray(values.astype(np.int32))
    return np.array(image.resize((size[1], size[0]), Image.Resampling.NEAREST), np.int64)


def _folders(base: Path, ids: Sequence[str]) -> list[str]:
    """The images' classes: the folders that hold them."""
    folders = []
    for name in ids:
        folder = [*name.split("/")[:-1]]
        folder = folder[1:] if folder and folder[0] in PARTS else folder
        if not folder:
            raise DataError(f"{base / name}: is in no class's folder: path/class/image")
        folders.append(folder[0])
    return folders


def _check_folder(base: Path) -> None:
    if base.is_dir():
        return
    if base.exists():
        raise DataError(f"{base}: is not a folder")
    beside = base.parent.iterdir() if base.parent.is_dir() else ()
    close = nearest(base.name, sorted(path.name for path in beside if path.is_dir()))
    raise DataError(f"{base}: no such folder" + (f"; did you mean {close}?" if close else ""))


def _check_parts(base: Path, ids: Sequence[str]) -> None:
    """DataError where all but a few of the uppermost folders are parts: a slip of the pen."""
    tops = {name.split("/")[0] for name in ids if "/" in name}
    parts = [part for part in PARTS if part in tops]
    odd = sorted(tops - set(PARTS))
    if "train" in parts and len(parts) > 1 and odd:
        raise DataError(
            f"{base / odd[0]}: beside {', '.join(parts)} images can only lie in {', '.join(PARTS)}"
        )


def _plain(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).as_posix()


def _places(ids: Sequence[str]) -> dict[str, int]:
    """Where the image is that a table calls so; −1 if there are several."""
    found: dict[str, int] = {}
    images = [PurePosixPath(name) for name in ids]
    for names in (
        [image.as_posix() for image in images],
        [image.with_suffix("").as_posix() for image in images],
        [image.name for image in images],
        [image.stem for image in images],
    ):
        level: dict[str, int] = {}
        for number, name in enumerate(names):
            level[name] = -1 if name in level else number
        found = level | found
    return found


def _parts(ids: Sequence[str]) -> dict[str, np.ndarray]:
    """The parts that the uppermost folders name, if those are all parts."""
    tops = np.array([name.split("/")[0] if "/" in name else "" for name in ids])
    if not set(tops) <= set(PARTS) or "train" not in tops:
        return {}
    return {part: np.flatnonzero(tops == part) for part in PARTS if part in tops}


def _digest(base: Path, files: Sequence[Path]) -> FileInfo:
    """One record of the whole folder."""
    infos = [file_info(path) for path in files]
    pairs = zip(files, infos, strict=True)
    text = "\n".join(f"{path.name} {info.sha256}" for path, info in pairs)
    size = sum(info.size for info in infos)
    return FileInfo(str(base), size, hashlib.sha256(text.encode()).hexdigest())


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape[-2:]))


def _left_out(files: Sequence[Path]) -> str:
    """The first few names of files that are no images."""
    names = [path.name for path in files if path.suffix.lower() not in SUFFIXES]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
