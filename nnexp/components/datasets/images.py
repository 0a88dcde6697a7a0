"""Folders of images: a folder a class, or a mask beside each image."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from nnexp.components.datasets.dataset import Dataset
from nnexp.components.table import Features, FileInfo, Table, file_info
from nnexp.errors import DataError, UsageError, count
from nnexp.registry import param

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
PARTS = ("train", "dev", "test")
LARGE = 2**29
"""Bytes of pixels from which they lie in a temporary file rather than in memory."""
Side = Annotated[int, Field(ge=1, le=16_384)]


class ImageFolder(Dataset):
    """Images in folders: `path/class/image.png`, or with `masks` a class at every pixel.

    Folders called train, dev and test above the classes are the parts of the data. Images are in
    the order of their names, and called by them. A mask has its image's name (its ending may
    differ) and a class's number at each pixel; `ignore` marks pixels without a class.

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
    masks: str | None = param(
        None, "folder of the masks, relative to `path`, such as ../masks", min_length=1
    )
    classes: list[str] = param(
        [], "names of the masks' classes, from number 0", max_length=255, when="[]: their numbers"
    )
    ignore: int = param(255, "number of the pixels without a class in masks", ge=0, le=255)

    def load(self, root: Path = Path(), *, labelled: bool = True) -> Table:
        base = Path(root) / self.path
        if not base.is_dir():
            raise DataError(f"{base}: {'is not a folder' if base.exists() else 'no such folder'}")
        masks = (base / self.masks).resolve() if self.masks else None
        found = sorted(p for p in base.rglob("*") if p.is_file())
        found = [p for p in found if masks is None or masks not in p.resolve().parents]
        files = [p for p in found if p.suffix.lower() in SUFFIXES]
        if not files:
            raise DataError(f"{base}: holds no image ({', '.join(SUFFIXES)})")
        ids = [p.relative_to(base).as_posix() for p in files]
        pixels = self._pixels(files)
        target, classes, used = np.empty((len(files), 0)), None, list(files)
        if labelled and masks is not None:
            paired = [_mask(base, masks, p) for p in files]
            target, classes = self._masked(paired, files, pixels.shape[2:])
            used += paired
        elif labelled:
            target, classes = _labels(base, ids)
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
        pixels = _read(path, "L" if grey else "RGB", self.size, smooth=True)
        pixels = pixels[None] if grey else np.moveaxis(pixels, 2, 0)
        if other is not None and pixels.shape != shape:
            raise DataError(
                f"{path}: is {_size(pixels.shape)} pixels (height × width), {other.name} "
                f"{_size(shape)}: set `size`, to which all are brought"
            )
        return pixels

    def _masked(
        self, masks: Sequence[Path], files: Sequence[Path], size: tuple[int, ...]
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """The class at each pixel, int64 `[n, H, W]`, and the classes' names."""
        target = np.empty((len(masks), *size), np.int64)
        for number, (path, image) in enumerate(zip(masks, files, strict=True)):
            values = _read(path, None, self.size, smooth=False).astype(np.int64)
            if values.ndim != 2:
                raise DataError(f"{path}: has colours; a mask has one number a pixel")
            if values.shape != size:
                raise DataError(
                    f"{path}: is {_size(values.shape)} pixels (height × width), its image "
                    f"{image.name} {_size(size)}"
                )
            target[number] = np.where(values == self.ignore, -1, values)
        top = int(target.max())
        if self.classes and top >= len(self.classes):
            bad = masks[int(np.argmax(target.reshape(len(target), -1).max(1)))]
            raise DataError(f"{bad}: has class {top}; `classes` names {len(self.classes)}, from 0")
        return target, tuple(self.classes or map(str, range(max(top, 0) + 1)))


def _read(path: Path, mode: str | None, size: Sequence[int] | None, smooth: bool) -> np.ndarray:
    """An image's pixels, uint8; mode: None for the numbers as they are stored."""
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
                way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
                image = image.resize((size[1], size[0]), way)
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


def _labels(base: Path, ids: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Classes by the folders that hold the images."""
    folders = []
    for name in ids:
        folder = [*name.split("/")[:-1]]
        folder = folder[1:] if folder and folder[0] in PARTS else folder
        if not folder:
            raise DataError(f"{base / name}: is in no class's folder: path/class/image")
        folders.append(folder[0])
    classes = tuple(sorted(set(folders)))
    if len(classes) == 1:
        raise DataError(f"{base}: all images are of one class, {classes[0]}")
    return np.array([classes.index(folder) for folder in folders], np.int64), classes


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
