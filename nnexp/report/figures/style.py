"""What all figures share: colours, axes, and how they become files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nnexp.errors import UsageError
from nnexp.runs.files import write_bytes

Array: TypeAlias = np.ndarray
Figure: TypeAlias = Any
"""matplotlib's, which is imported only where one is made."""

SUFFIXES = (".png", ".svg", ".pdf")
# Okabe & Ito (2008): told apart with every kind of colour vision, and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, FAINT = "#333333", "#DDDDDD"
_RC = {"svg.hashsalt": "nnexp", "svg.fonttype": "path", "pdf.fonttype": 42}
_METADATA: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def check_path(path: Path) -> None:
    """Raises UsageError for a file that no picture can be written to."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path}: a picture's name should end in {', '.join(SUFFIXES)} "
            f"(received: '{path.suffix}')"
        )
    check_folder(path)


def check_folder(path: Path) -> None:
    """Raises UsageError if no picture can be written there, or drawn at all."""
    _need_matplotlib()
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise UsageError(f"{path} can't be written: permission denied")


def _need_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("pictures need matplotlib: pip install 'nnexp[plot]'") from None


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches. Raises UsageError without matplotlib."""
    _need_matplotlib()
    from matplotlib.figure import Figure as New

    return New(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as the ending of the path says; the same bytes each time."""
    from matplotlib import rc_context

    check_path(path)
    buffer, suffix = io.BytesIO(), path.suffix.lower()
    with rc_context(_RC):
        figure.savefig(buffer, format=suffix[1:], metadata=_METADATA.get(suffix))
    write_bytes(path, buffer.getvalue())


def style(axes: Any, x: str, y: str, title: str = "", grid: str = "y") -> None:
    """Plain axes with labels; nothing in them is read as mathematics."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8.5)
    axes.set_xlabel(x, color=INK, fontsize=9.5, parse_math=False)
    axes.set_ylabel(y, color=INK, fontsize=9.5, parse_math=False)
    if title:
        axes.set_title(shorten(title, 60), color=INK, fontsize=10, parse_math=False)


def legend(owner: Any, entries: list[tuple[Any, str]], **options: Any) -> None:
    """A legend of handles and names; `owner`: axes, or a figure."""
    if not entries:
        return
    made = owner.legend(
        [handle for handle, _ in entries],
        ["x"] * len(entries),
        **{"frameon": False, "fontsize": 8.5, **options},
    )
    # Set now, as a label with a leading _ would be left out, and $…$ be read as mathematics.
    for text, (_, name) in zip(made.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set(text=shorten(name), color=INK)


def line(colour: str, **look: Any) -> Any:
    """A legend's handle."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, **{"linewidth": 2.0, **look})


def patch(colour: str, alpha: float = 1.0) -> Any:
    """A legend's handle."""
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, alpha=alpha, linewidth=0)


def shorten(text: str, limit: int = 40) -> str:
    """At most so many characters; what is cut stands for itself as …"""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def wants_log(values: Array) -> bool:
    """Whether finite values are positive and span more than a factor of 30."""
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(finite.min() > 0 and finite.max() > 30 * finite.min())


def logarithmic(axis: Any) -> None:
    """A log scale whose ticks are plain numbers: 0.1, 0.2, 0.5, 1, …"""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    owner = axis.axes
    (owner.set_xscale if axis.axis_name == "x" else owner.set_yscale)("log")
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low) if low > 0 else 1.0
    subs = (1.0, 2.0, 5.0) if decades < 3 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
