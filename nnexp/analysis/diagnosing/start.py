"""What the checks at the start of training have seen, from a run's log."""

from __future__ import annotations

import re
from shlex import quote

from nnexp.analysis.diagnosing.remark import Remark
from nnexp.analysis.results import Result

TOPIC = "data"
FAILED, LOOK = "a check failed", "worth a look"

_TOLD = re.compile(r"\S+ (?P<kind>fail|look|split): (?P<text>.+)")


def seen_at_start(result: Result) -> Remark | None:
    """What is wrong with the data or the split, as the log tells it; None if nothing is.

    A training that `training.checks` was switched off for has no more than remarks on its split.
    """
    try:
        lines = (result.path / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    told = [found for line in lines if (found := _TOLD.fullmatch(line))]
    if not told:
        return None
    failed = any(found["kind"] == "fail" for found in told)
    parts = dict.fromkeys(found["text"] for found in told)
    text = " ".join(part[:1].upper() + part[1:].rstrip(".") + "." for part in parts)
    command = f"nnexp check {quote(str(result.path / 'resolved.yaml'))}"
    return Remark(
        TOPIC,
        FAILED if failed else LOOK,
        "bad" if failed else "look",
        text,
        f"What was learnt may not hold for new data: {command} says more.",
        "Mend the data first" if failed else "",
        command if failed else "",
        {"told": list(parts)},
    )
