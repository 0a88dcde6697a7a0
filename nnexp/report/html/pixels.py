"""Pictures of pixels that stand in the page itself, as PNG."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from nnexp.stats import FloatArray

# Both ends are told apart on light and on dark paper, and with every kind of colour vision.
POSITIVE, NEGATIVE = (222, 104, 20), (28, 128, 196)
_EDGE, _APART, _TILE = (128, 128, 128, 90), 2, 56
_RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 144, 141), (93, 201, 99), (253, 231, 37)])
"""Viridis at five places."""


def data_uri(pixels: np.ndarray) -> str:
    """An image `[H, W, 4]` of red, green, blue and opacity (0 to 255) as a `data:` address."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = (
        (b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")
    )  # fmt: skip
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)
    return "data:image/png;base64," + base64.b64encode(data).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def tiles(weights: FloatArray, across: int) -> np.ndarray:
    """Small images `[F, C, H, W]` beside each other, each in a thin frame: `[…, …, 4]`.

    Of one channel: the more opaque, the larger the weight, and 0 is transparent. Three channels are
    red, green and blue, with 0 in the middle.
    """
    count, _, height, width = weights.shape
    size = max(1, _TILE // max(height, width))
    painted = _coloured(weights) if weights.shape[1] == 3 else _signed(weights[:, 0])
    painted = painted.repeat(size, axis=1).repeat(size, axis=2)
    down = -(-count // across)
    framed = np.full((count, height * size + 2, width * size + 2, 4), _EDGE, np.uint8)
    framed[:, 1:-1, 1:-1] = painted
    rows, columns = framed.shape[1] + _APART, framed.shape[2] + _APART
    whole = np.zeros((down * rows - _APART, across * columns - _APART, 4), np.uint8)
    for number, tile in enumerate(framed):
        top, left = (number // across) * rows, (number % across) * columns
        whole[top : top + rows - _APART, left : left + columns - _APART] = tile
    return whole


def _signed(weights: FloatArray) -> np.ndarray:
    opacity = 255 * np.abs(weights) / (np.abs(weights).max() or 1.0)
    colours = np.where((weights > 0)[..., None], POSITIVE, NEGATIVE)
    return np.concatenate([colours, opacity[..., None]], axis=-1).round().astype(np.uint8)


def _coloured(weights: FloatArray) -> np.ndarray:
    shades = 127.5 + 127.5 * np.moveaxis(weights, 1, -1) / (np.abs(weights).max() or 1.0)
    whole = np.full((*shades.shape[:3], 4), 255.0)
    whole[..., :3] = shades
    return whole.round().astype(np.uint8)


def shaded(values: FloatArray, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The class with the highest of the values `[H, W, K]`, the more opaque the surer it is."""
    best, floor = values.argmax(axis=-1), 1.0 / values.shape[-1]
    sure = np.clip((values.max(axis=-1) - floor) / (1.0 - floor), 0.0, 1.0)
    palette = np.array([colours[k % len(colours)] for k in range(values.shape[-1])])
    opacity = 255 * (0.1 + 0.45 * sure)
    return np.concatenate([palette[best], opacity[..., None]], -1).round().astype(np.uint8)


def ramp(shares: FloatArray) -> np.ndarray:
    """Colours `[…, 4]` of numbers from 0 (dark) to 1 (light)."""
    places = np.linspace(0.0, 1.0, len(_RAMP))
    channels = [np.interp(shares, places, _RAMP[:, c]) for c in range(3)]
    return np.stack([*channels, np.full_like(channels[0], 255.0)], -1).round().astype(np.uint8)


def contour(x: FloatArray, y: FloatArray, heights: FloatArray) -> list[tuple[float, ...]]:
    """Where heights `[H, W]` over a grid are 0: segments (x, y, x, y), by marching squares."""
    above = heights > 0
    corners = above[:-1, :-1], above[:-1, 1:], above[1:, 1:], above[1:, :-1]
    mixed = ~(np.logical_and.reduce(corners) | ~np.logical_or.reduce(corners))
    segments = list[tuple[float, ...]]()
    for row, column in np.argwhere(mixed).tolist():
        places = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)]
        ends = [
            _between(x, y, heights, a, b)
            for a, b in zip(places, [*places[1:], places[0]], strict=True)
            if above[a] != above[b]
        ]
        pairs = zip(ends[::2], ends[1::2], strict=True)
        segments += [(*a, *b) for a, b in pairs if math.isfinite(sum(a) + sum(b))]
    return segments


def _between(
    x: FloatArray, y: FloatArray, heights: FloatArray, a: tuple[int, int], b: tuple[int, int]
) -> tuple[float, float]:
    """Where the height is 0 on the line between two points of the grid."""
    first, second = float(heights[a]), float(heights[b])
    share = first / (first - second)
    across = x[a[1]] + share * (x[b[1]] - x[a[1]])
    return float(across), float(y[a[0]] + share * (y[b[0]] - y[a[0]]))
