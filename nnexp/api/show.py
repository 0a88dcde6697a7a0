"""Small tables, as text and as HTML that suits a light and a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Rows = Sequence[Sequence[str]]


def as_text(head: Sequence[str], rows: Rows) -> str:
    """Columns under their names, the first flush left, the others right."""
    table = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = []
    for row in table:
        cells = [
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_html(head: Sequence[str], rows: Rows) -> str:
    """The same; colours are the page's own."""
    names = "".join(
        f"<th style='text-align:{_side(i)}'>{escape(n)}</th>" for i, n in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td style='text-align:{_side(i)}'>{escape(c)}</td>" for i, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def paragraph(text: str, *, strong: bool = False, faint: bool = False) -> str:
    """A line of text as HTML; text may come from anywhere, so nothing in it is markup."""
    shown = f"<b>{escape(text)}</b>" if strong else escape(text)
    style = "margin:0.3em 0" + (";opacity:0.7" if faint else "")
    return f"<div style='{style}'>{shown}</div>"


def _side(column: int) -> str:
    return "right" if column else "left"
