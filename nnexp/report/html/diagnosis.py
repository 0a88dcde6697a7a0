"""The part of a report that says what held a training back, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from nnexp.analysis.diagnosing.diagnosis import diagnose
from nnexp.analysis.diagnosing.remark import Grade, Remark
from nnexp.analysis.results import Result
from nnexp.errors import NnexpError
from nnexp.report.html.markup import Content, Html, join, tag

_SIGNS: dict[Grade, tuple[str, str]] = {
    "good": ("✓", "good"),
    "look": ("!", "look"),
    "bad": ("✗", "bad"),
    "unknown": ("?", "faint"),
}


def diagnosis(result: Result) -> Html:
    """What `nnexp diagnose` says of a run or group: the next step, then a tile a finding."""
    try:
        found = diagnose(result)
    except NnexpError as error:
        return tag("p", f"can't be told: {error}", class_="sub")
    because = f" ({found.next.topic})" if found.next.topic else ""
    first = tag("p", tag("b", "Next: "), *with_code(found.next.text), because)
    command = tag("pre", tag("code", found.next.command)) if found.next.command else None
    alike = [list(same) for _, same in groupby(found.remarks, lambda one: (one.verdict, one.text))]
    tiles = [_tile([one.topic for one in same], same[0]) for same in alike]
    judged = tag("p", f"judged on {found.split}", class_="sub")
    return join(
        [tag("div", first, command, class_="verdict"), judged, tag("div", *tiles, class_="tiles")]
    )


def _tile(topics: Sequence[str], one: Remark) -> Html:
    """The verdict on a topic, or on several at once, what it rests on, and what helps."""
    sign, look = _SIGNS[one.grade]
    title = tag("h3", tag("span", f"{sign} ", class_=look), ", ".join(topics))
    advice = tag("p", tag("b", "→ "), *with_code(one.advice)) if one.advice else None
    parts = (title, tag("p", tag("b", one.verdict)), tag("p", one.text, class_="sub"), advice)
    return tag("div", *parts, class_=f"card tile is-{look}")


_TYPED = re.compile(
    r'(--set (?:"[^"]*"|[^\s,;)]*[^\s,;).])|--[a-z-]+(?: [0-9.]*[0-9])?|nnexp [a-z]+)'
)
"""Commands and options, with their values, in a sentence."""


def with_code(text: str) -> list[Content]:
    """A text in which what is to be typed stands out."""
    parts = _TYPED.split(text)
    return [tag("code", part) if i % 2 else part for i, part in enumerate(parts)]
