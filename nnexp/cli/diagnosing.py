"""What `nnexp diagnose` shows."""

from __future__ import annotations

from itertools import groupby

from nnexp.analysis.diagnosing.diagnosis import Diagnosis
from nnexp.analysis.diagnosing.remark import Grade
from nnexp.cli import console
from nnexp.cli.console import Style

_SIGNS: dict[Grade, tuple[str, Style]] = {
    "good": ("✓", "good"),
    "look": ("!", "warning"),
    "bad": ("✗", "bad"),
    "unknown": ("?", "dim"),
}


def show_diagnosis(found: Diagnosis) -> None:
    """A paragraph a topic: the verdict, what it rests on, and what helps; then the next step."""
    what = f"group of {console.count(found.members, 'model')}" if found.kind == "group" else "run"
    console.say_path(found.path, "bold")
    console.say(f"{what}, judged on {found.split}", "dim")
    for same, together in groupby(found.remarks, key=lambda one: (one.verdict, one.text)):
        remarks = list(together)
        topics = ", ".join(remark.topic for remark in remarks)
        sign, style = _SIGNS[remarks[0].grade]
        console.say()
        console.say_parts([(f"{sign} {topics}: ", style), (same[0], "bold")])
        console.say_table(["", ""], [[" ", remarks[0].text]])
        if remarks[0].advice:
            console.say_table(["", ""], [[("→", "name"), remarks[0].advice]])
    console.say()
    step = found.next
    because = f" ({step.topic})" if step.topic else ""
    text = f"{step.text[0].lower()}{step.text[1:]}{because}."
    console.say_parts([("Next: ", "name"), (text, "bold")])
    if step.command:
        console.say_verbatim(f"  {console.clean(step.command)}")
