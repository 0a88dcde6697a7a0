"""HTML out of elements whose text is always escaped, and the one page around them.

The page needs nothing but itself: no script, no font, no picture from elsewhere. Its colours follow
the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TypeAlias

VOID = {"br", "meta", "img", "line", "circle", "path", "image"}
"""Elements without content; of HTML's and SVG's those that are used here."""


class Html(str):
    """Text that is HTML already, so that it is not escaped again."""

    __slots__ = ()


Content: TypeAlias = str | None
"""Html stays as it is, other text is escaped, None is nothing."""


def tag(name: str, /, *content: Content, **attributes: str | float | None) -> Html:
    """An element. Attributes that are None are left out; `class_` is `class`, `x_y` is `x-y`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not content:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def join(parts: Iterable[Content]) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(part if isinstance(part, Html) else text(part or "") for part in parts))


def text(words: str) -> Html:
    """Escaped; what is no printable character (names may come from anywhere) is replaced."""
    seen = (c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in words)
    return Html(escape("".join(seen)))


def _attribute(value: str | float) -> Html:
    return text(value if isinstance(value, str) else f"{value:.4g}")


def table(
    head: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    left: Sequence[int] = (0,),
    class_: str | None = None,
) -> Html:
    """A table that scrolls by itself where it is too wide. left: columns of words."""
    side = ["w" if i in left else None for i in range(len(head))]
    top = join(tag("th", cell, class_=s) for cell, s in zip(head, side, strict=True))
    body = join(
        tag("tr", *(tag("td", cell, class_=s) for cell, s in zip(row, side, strict=True)))
        for row in rows
    )
    whole = tag(
        "table", tag("thead", tag("tr", top)) if any(head) else None, tag("tbody", body),
        class_=class_,
    )  # fmt: skip
    return tag("div", whole, class_="wide", tabindex="0")


def section(title: str, *content: Content) -> Html:
    """A part of the page; nothing if it has no content."""
    inner = join(content)
    return tag("section", tag("h2", title), inner) if inner else Html("")


def card(title: str, *content: Content, note: str = "") -> Html:
    """A picture with its title and what is to be said of it."""
    below = tag("figcaption", note) if note else None
    return tag("figure", tag("h3", title) if title else None, *content, below)


def cards(figures: Sequence[Html]) -> Html:
    """Pictures beside each other as far as there is room."""
    return tag("div", *figures, class_="cards") if figures else Html("")


def pair(*sections: Html) -> Html:
    """Two parts of the page beside each other where there is room."""
    return tag("div", *sections, class_="pair")


def folded(title: str, *content: Content) -> Html:
    """What is shown when it is asked for; nothing if there is nothing."""
    inner = join(content)
    return tag("details", tag("summary", title), inner) if inner else Html("")


def page(title: str, *content: Content) -> str:
    """The whole document."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    body = tag("body", tag("main", *content))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


# Okabe & Ito (2008), told apart with every kind of colour vision; in dark the same hues, lighter.
STYLE = """
:root{--paper:#fff;--ink:#1d2329;--faint:#68717a;--line:#d5dade;--card:#f7f8f9;--mark:#fff0b8;
--good:#00724f;--bad:#b3330e;--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b8578f;--s4:#b87900;
--s5:#2b94c9;--s6:#6b6b6b;--from:#3b1a6b;--to:#5fae4f}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e4e8eb;--faint:#98a2ab;
--line:#363d44;--card:#1b2024;--mark:#544310;--good:#4fd1a5;--bad:#ff8f66;--s0:#53aee8;--s1:#ff8c42;
--s2:#2fc79b;--s3:#e597c4;--s4:#f0b840;--s5:#8fd0f5;--s6:#a9a9a9;--from:#f2e14c;--to:#6a63c4}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1240px;margin:0 auto;padding:20px 16px 60px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:36px 0 10px;border-bottom:1px solid var(--line);padding-bottom:4px}
h3{font-size:.95rem;margin:0 0 6px;overflow-wrap:anywhere}
section>h3{margin-top:16px}
p{margin:6px 0;max-width:75ch}
.sub,figcaption,.faint{color:var(--faint);font-size:.87rem}
.sub{overflow-wrap:anywhere}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.warning{border-left:4px solid var(--s4);padding:2px 10px}
.look{color:var(--s4);font-weight:600}
.verdict{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 14px;
margin:10px 0}
.wide{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;margin:6px 0}
th,td{padding:3px 12px 3px 0;text-align:right;white-space:nowrap;vertical-align:top}
th{color:var(--faint);font-weight:600}
thead th{border-bottom:1px solid var(--line)}
.w{text-align:left}
td.w{white-space:normal;overflow-wrap:anywhere;min-width:4em}
td.w:first-child{overflow-wrap:normal;min-width:0}
td.w:last-child:not(:first-child){min-width:9em}
.config td.w{overflow-wrap:anywhere;min-width:5em}
figure .scores th,figure .scores td{white-space:normal}
@media (max-width:500px){th,td{padding-right:8px}table{font-size:.8rem}
.scores th,.scores td{white-space:normal}.scores td.w:nth-child(n){min-width:0}}
mark{background:var(--mark);color:inherit;padding:0 3px;border-radius:3px}
pre{overflow-x:auto;font-size:.85rem;margin:6px 0}
.verdict pre{white-space:pre-wrap;overflow-wrap:anywhere}
code{font:.95em ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
details{margin:10px 0}summary{cursor:pointer;color:var(--faint);font-size:.9rem}
.cards{display:grid;grid-template-columns:minmax(0,1fr);gap:14px;margin:10px 0}
@media (min-width:680px) and (max-width:999px){
.cards{grid-template-columns:repeat(2,minmax(0,1fr))}
.cards>:nth-child(odd):last-child{grid-column:1/-1}}
@media (min-width:1000px){.cards{grid-template-columns:repeat(6,minmax(0,1fr))}
.cards>*{grid-column:span 2}
.cards>:nth-child(3n+1):nth-last-child(2),.cards>:nth-child(3n+2):last-child,
.cards>:nth-child(3n+1):nth-last-child(4),.cards>:nth-child(3n+2):nth-last-child(3),
.cards>:nth-child(3n):nth-last-child(2),.cards>:nth-child(3n+1):last-child{grid-column:span 3}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 28px}}
.cards>.span:nth-child(n){grid-column:1/-1}
.tiles{columns:3 320px;column-gap:14px;margin:10px 0}
.tiles.two{columns:2 440px}.tiles>:nth-child(n){break-inside:avoid;margin:0 0 12px}
.small{display:grid;gap:8px;margin:6px 0;
grid-template-columns:repeat(auto-fill,minmax(max(150px,calc(100%/var(--n) - 8px)),1fr))}
.small svg .tick{font-size:11.5px}
@media (max-width:679px){.small svg .tick{font-size:14px}}
.small figure{padding:6px 8px}.small h3{font-size:.8rem;font-weight:500;margin:0}
figure,.card{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:10px 12px;min-width:0}
.card p{margin:4px 0;overflow-wrap:anywhere}
.tile{border-left:4px solid var(--line)}.tile.is-good{border-left-color:var(--good)}
.tile.is-look{border-left-color:var(--s4)}.tile.is-bad{border-left-color:var(--bad)}
.tile p,.tile h3{font-size:.95rem}.tile .sub{font-size:.87rem}
figure>svg{max-width:520px;margin:0 auto}.big>svg{min-width:760px}
img.pixels{display:block;width:100%;max-width:620px;height:auto;margin:0 auto 6px;
image-rendering:pixelated}
.span{grid-column:1/-1;min-width:0}.nw{white-space:nowrap}
svg{display:block;width:100%;height:auto;font-size:12px}
svg text{fill:var(--ink)}svg .tick{fill:var(--faint);font-size:11px}
svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:3px}
.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--faint);stroke-width:1;fill:none}
.c0{--c:var(--s0)}.c1{--c:var(--s1)}.c2{--c:var(--s2)}.c3{--c:var(--s3)}.c4{--c:var(--s4)}
.c5{--c:var(--s5)}.c6{--c:var(--s6)}
.curve{fill:none;stroke:var(--c,var(--ink));stroke-width:2.2;stroke-linejoin:round}
.dash{stroke-dasharray:6 4;stroke-width:1.7}
.thin{fill:none;stroke:var(--c,var(--ink));stroke-width:.8;opacity:.4}
.whisker{stroke:var(--c);stroke-width:1.6;opacity:.55}
.border{fill:none;stroke:var(--ink);stroke-width:1.6}.border.thin{stroke-width:.7;opacity:.5}
.point{fill:var(--c);stroke:var(--card);stroke-width:.8}
.area{fill:var(--c,var(--ink));opacity:.17}
.dot{fill:var(--c,var(--ink));opacity:.65}.ring{fill:none;stroke:var(--s1);stroke-width:2.2}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.82rem;color:var(--faint)}
.legend span{overflow-wrap:anywhere;min-width:0}
.legend i{display:inline-block;width:20px;height:0;border-top:3px solid var(--c,var(--ink));
margin-right:5px;vertical-align:middle}
.legend i.dashed{border-top:2px dashed var(--c)}
.legend i.d{border-top:2px dashed var(--faint)}.legend i.l{border-top:2px solid var(--faint)}
.heat{font-size:.78rem;margin:6px auto 6px 0}
.heat td,.heat th{padding:3px;text-align:center;border:0;min-width:2.15em}
.heat th{max-width:9em;overflow:hidden;text-overflow:ellipsis}
.heat td{background:color-mix(in srgb,var(--c) var(--p,0%),transparent);border-radius:2px}
.bar{display:inline-block;height:.7em;background:var(--s0);border-radius:2px;min-width:1px}
@media print{figure,.verdict{break-inside:avoid}}
"""
