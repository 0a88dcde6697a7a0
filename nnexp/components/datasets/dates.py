"""Dates as numbers: days since 1970-01-01."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

DateOrder = Literal["day_first", "month_first"]

_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?")
_PARTS = re.compile(r"(\d{1,4})([/.])(\d{1,2})\2(\d{1,4})")
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


def as_days(
    values: np.ndarray, order: DateOrder | None, stated: bool
) -> tuple[np.ndarray | None, DateOrder | None, str]:
    """A column of text (None: missing) as days, the order that it shows, and what is not a date.

    Dates are 2024-02-01, with a time and an offset from UTC or not (without: UTC), 2024/02/01,
    1.2.2024, and 1/2/2024, whose order is `order` or what all of the column allow alone; if the
    column is `stated` to hold dates, 20240201 too.
    The first is None if a value isn't a date or the order can't be told; the last says why.
    """
    texts = dict.fromkeys(v for v in values.tolist() if v is not None)
    if not texts:
        return None, None, "it has no value"
    if not stated and not _looks(next(iter(texts))):
        return None, None, f"{next(iter(texts))!r} is no date"
    orders: list[DateOrder] = [order] if order else ["day_first", "month_first"]
    found, wrong = {}, ""
    for tried in orders:
        days, failed = _parsed(texts, tried, stated)
        wrong = wrong or failed
        if not failed:
            found[tried] = days
    if not found:
        return None, None, f"{wrong!r} is no date"
    if len({tuple(days.values()) for days in found.values()}) > 1:
        return None, None, "which is the day and which the month can't be told; set `date_order`"
    taken, days = next(iter(found.items()))
    column = np.array([np.nan if v is None else days[v] for v in values.tolist()], np.float64)
    return column, taken if len(found) == 1 else None, ""


def _parsed(texts: Iterable[str], order: DateOrder, stated: bool) -> tuple[dict[str, float], str]:
    """Days of each text, and the first text that is no date ("": all are)."""
    days = {}
    for text in texts:
        found = _days(text, order, stated)
        if found is None:
            return {}, text
        days[text] = found
    return days, ""


def _looks(text: str) -> bool:
    return bool(_ISO.fullmatch(text) or _PARTS.fullmatch(text))


def _days(text: str, order: DateOrder, stated: bool) -> float | None:
    try:
        if _ISO.fullmatch(text):
            when = datetime.fromisoformat(text)
            return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) / _DAY
        if parts := _PARTS.fullmatch(text):
            first, sign, second, last = parts.groups()
            if len(first) == 4:
                ymd = (int(first), int(second), int(last))
            elif len(last) != 4:
                return None
            elif order == "day_first" or sign == ".":
                ymd = (int(last), int(second), int(first))
            else:
                ymd = (int(last), int(first), int(second))
        elif stated and (compact := _COMPACT.fullmatch(text)):
            year, month, day = compact.groups()
            ymd = (int(year), int(month), int(day))
        else:
            return None
        return (datetime(*ymd, tzinfo=UTC) - _EPOCH) / _DAY
    except (ValueError, OverflowError):
        return None
