"""An ablation's table as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from nnexp.analysis.ablation import NOT_SHOWN, Ablation, Effect, reach
from nnexp.errors import UsageError
from nnexp.report.numbers import interval, spread
from nnexp.runs.files import write_text

HEAD = ("effect", "difference", "95 % interval", "p", "p (Holm)", "verdict")


def p_cell(p: float | None) -> str:
    """Two digits, a dash for none."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def cells_of(effect: Effect) -> list[str]:
    """An effect's row below HEAD."""
    return [
        effect.label,
        f"{effect.difference:+.4f}"
        if abs(effect.difference) >= 1e-3
        else f"{effect.difference:+.2g}",
        interval(effect.interval),
        p_cell(effect.p_value),
        p_cell(effect.p_adjusted),
        effect.verdict,
    ]


def title(found: Ablation) -> str:
    """What the table is about, with the sense of its numbers."""
    better = "higher" if found.higher_is_better else "lower"
    design = "factorial design" if found.design == "factorial" else "leave-one-out design"
    return (
        f"{found.split} {found.metric}: with − without ({better} is better; {design}, "
        f"{found.members} {found.varies}s a cell)"
    )


def as_csv(found: Ablation) -> str:
    """One row an effect, numbers in full."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["effect", "kind", "difference", "low", "high", "p", "p_holm", "detectable", "verdict"]
    )
    for one in found.effects:
        low, high = one.interval or ("", "")
        p = ["" if x is None else x for x in (one.p_value, one.p_adjusted, one.detectable)]
        lines.writerow([one.label, one.kind, one.difference, low, high, *p, one.verdict])
    return text.getvalue()


def as_markdown(found: Ablation) -> str:
    """The effects, and below them the cells."""
    rows = [cells_of(one) for one in found.effects]
    scores = [[cell.label, spread(cell.score)] for cell in found.cells]
    parts = [
        f"**{_escaped_markdown(title(found))}**",
        _markdown_table(HEAD, rows),
        _markdown_table(("cell", f"{found.split} {found.metric}"), scores),
        " ".join([*found.notes, f"Intervals and p: {found.test}.", reach(found)]),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = [list(map(_escaped_markdown, head)), rule]
    lines += [list(map(_escaped_markdown, row)) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped_markdown(text: str) -> str:
    for character in "\\|*_`<":
        text = text.replace(character, "\\" + character)
    return text


_TEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "±": r"$\pm$",
}


def escaped_tex(text: str) -> str:
    """The text with what is special to LaTeX escaped."""
    return "".join(_TEX.get(character, character) for character in text)


def as_latex(found: Ablation) -> str:
    """A `table` with booktabs' rules; effects that are shown are bold."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped_tex(title(found))}}}",
        r"\begin{tabular}{lrrrrl}",
        r"\toprule",
        " & ".join(map(escaped_tex, HEAD)) + r" \\",
        r"\midrule",
    ]
    for effect in found.effects:
        name, difference, *rest = map(_tex_number, cells_of(effect))
        if effect.verdict != NOT_SHOWN:
            difference = rf"\textbf{{{difference}}}"
        lines.append(" & ".join([name, difference, *rest]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _tex_number(text: str) -> str:
    """Numbers' minus signs are minus signs, not hyphens."""
    words = [f"−{w[1:]}" if w[:1] == "-" and w[1:2].isdigit() else w for w in text.split(" ")]
    return escaped_tex(" ".join(words))


FORMATS: dict[str, Callable[[Ablation], str]] = {
    ".csv": as_csv,
    ".md": as_markdown,
    ".tex": as_latex,
}


def format_of(path: Path) -> Callable[[Ablation], str]:
    """How a file of that name is written. Raises UsageError."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} should end in one of {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def write_tables(folder: Path, found: Ablation) -> None:
    """ablation.csv, ablation.md and ablation.tex."""
    for ending, form in FORMATS.items():
        write_text(folder / f"ablation{ending}", form(found))
