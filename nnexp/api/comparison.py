"""How runs differ, and whether it was luck, from Python."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from nnexp.analysis.comparing.compare import compare as compare_runs
from nnexp.analysis.comparing.comparison import Comparison, Evidence, Pair, Side
from nnexp.analysis.comparing.verdict import p_text
from nnexp.api.data import Frame
from nnexp.api.show import as_html, as_text, paragraph
from nnexp.report.numbers import interval, spread


class Verdict:
    """What `nnexp compare` says of runs or groups A, B, …

    found: everything that was found. Of two sides, `verdict` says how B stands to A: "better",
    "worse", "equivalent" or "no difference shown".
    """

    def __init__(self, found: Comparison) -> None:
        self.found = found

    @property
    def verdict(self) -> str:
        """B in relation to A; of several pairs all of them, as `B − A: better; …`."""
        pairs = self.found.pairs
        if len(pairs) == 1:
            return pairs[0].verdict
        return "; ".join(f"{pair.b} − {pair.a}: {pair.verdict}" for pair in pairs)

    @property
    def sentence(self) -> str:
        """The verdict in words, and how far it reaches; a line a pair."""
        return "\n".join(pair.sentence for pair in self.found.pairs)

    @property
    def metrics(self) -> Frame:
        """The mean of every metric on every split, a column a side."""
        import pandas as pd

        found = {
            side.label: {
                (split, metric): described["mean"]
                for split, metrics in side.metrics.items()
                for metric, described in metrics.items()
            }
            for side in self.found.sides
        }
        frame = pd.DataFrame(found, dtype=float)
        return frame.rename_axis(index=["split", "metric"])

    @property
    def pairs(self) -> Frame:
        """Each pair's difference, 95 % interval, p (adjusted for their number) and verdict."""
        import pandas as pd

        rows = []
        for pair in self.found.pairs:
            low, high = pair.evidence.interval or (None, None)
            rows.append(
                {
                    "pair": f"{pair.b} − {pair.a}",
                    "difference": pair.evidence.difference,
                    "low": low,
                    "high": high,
                    "p": pair.p_adjusted,
                    "verdict": pair.verdict,
                }
            )
        return pd.DataFrame(rows).set_index("pair")

    def to_json(self) -> dict[str, Any]:
        """What `nnexp compare --json` prints."""
        return self.found.to_json()

    def __repr__(self) -> str:
        lines = [f"warning: {text}" for text in self.found.warnings]
        lines += [_side(side) for side in self.found.sides]
        for pair in self.found.pairs:
            lines += ["", _title(pair, self.found), as_text(*_evidence(pair)), pair.sentence]
            lines += list(pair.notes)
        return "\n".join([*lines, "", as_text(*self._scores())])

    def _repr_html_(self) -> str:
        parts = [paragraph(f"warning: {text}", strong=True) for text in self.found.warnings]
        parts += [paragraph(_side(side), faint=True) for side in self.found.sides]
        for pair in self.found.pairs:
            parts += [paragraph(_title(pair, self.found), strong=True), as_html(*_evidence(pair))]
            parts.append(paragraph(pair.sentence))
            parts += [paragraph(note, faint=True) for note in pair.notes]
        return "".join([*parts, as_html(*self._scores())])

    def _scores(self) -> tuple[list[str], list[list[str]]]:
        """All metrics of all sides on the split that is compared."""
        found, split = self.found, self.found.split
        names = list(found.sides[0].metrics.get(split, {}))
        rows = [
            [name, *(spread(side.metrics.get(split, {}).get(name, {})) for side in found.sides)]
            for name in sorted(names, key=lambda name: name != found.metric)
        ]
        return [split, *(side.label for side in found.sides)], rows


def compare(
    *runs: str | PathLike[str],
    metric: str | None = None,
    margin: float | None = None,
    split: str = "test",
) -> Verdict:
    """Say how runs differ, and whether it was luck: two or more runs, or two or more groups.

    runs: as `fit` gives them, or their directories. metric: what the verdict is about; None: the
    primary one. margin: differences smaller than it don't matter. split: the part to compare on.
    Raises UsageError for what can't be compared, RunError for what can't be read.
    """
    return Verdict(compare_runs([Path(run) for run in runs], metric, margin, split))


def _side(side: Side) -> str:
    what = f"{side.members} models" if side.kind == "group" else "run"
    return f"{side.label}: {side.name}, {what} ({side.path})"


def _title(pair: Pair, found: Comparison) -> str:
    better = "higher" if found.higher_is_better else "lower"
    return f"{found.split} {found.metric}, {pair.b} − {pair.a} ({better} is better): {pair.verdict}"


def _evidence(pair: Pair) -> tuple[list[str], list[list[str]]]:
    def row(evidence: Evidence) -> list[str]:
        p = "–" if evidence.p_value is None else p_text(evidence.p_value).removeprefix("= ")
        difference = f"{evidence.difference:+.4g}"
        what = f"{evidence.scope}, by {evidence.test}"
        return [what, difference, interval(evidence.interval), p]

    head = ["speaks of", "difference", "95 % interval", "p"]
    return head, [row(evidence) for evidence in (pair.evidence, *pair.beside)]
