"""What `nnexp diagnose` shows."""

from __future__ import annotations

from nnexp.analysis.diagnosis import Diagnosis
from nnexp.analysis.remark import Grade
from nnexp.cli import console
from nnexp.cli.console import Style

_SIGNS: dict[Grade, tuple[str, Style]] = {
    "good": ("✓", "good"),
    "look": ("!", "warning"),
    "bad": ("✗", "bad"),
    "unknown": ("?", "dim"),
}


def show_diagnosis(found: Diagnosis) -> None:
    """A paragraph a topic: the verdict, what it rests on, and the next step."""
    what = f"group of {console.count(found.members, 'model')}" if found.kind == "group" else "run"
    console.say_path(found.path, "bold")
    console.say(f"{what}, judged on {found.split}", "dim")
    for remark in found.remarks:
        sign, style = _SIGNS[remark.grade]
        console.say()
        console.say_parts([(f"{sign} {remark.topic}: ", style), (remark.verdict, "bold")])
        console.say_table(["", ""], [["", remark.text]])
        if remark.advice:
            console.say_table(["", ""], [[("→", "name"), remark.advice]])
