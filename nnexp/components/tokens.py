"""Text as tokens."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["word", "token", "character"]
"""word: runs of letters and digits, and every other sign alone; token: what white space separates;
character: each one, white space too."""

_WORD = re.compile(r"\w+|[^\w\s]")


def tokens_of(text: str, unit: Unit) -> list[str]:
    """A text's tokens, in their order."""
    if unit == "character":
        return list(text)
    return text.split() if unit == "token" else _WORD.findall(text)


def most_frequent(counts: Counter[str], limit: int | None) -> list[str]:
    """The different tokens in alphabetical order; above a limit those that are seen most often.

    Of tokens that are equally frequent the alphabet's first are taken.
    """
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    return sorted(ranked[:limit])
