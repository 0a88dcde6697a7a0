"""One self-contained page about a run, a group, a comparison, a sweep, an ablation or a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nnexp
from nnexp.analysis.comparing.compare import compare
from nnexp.analysis.results import read_result
from nnexp.errors import UsageError, count
from nnexp.report.html import comparison as comparison_page
from nnexp.report.html import results as results_page
from nnexp.report.html import sweep as sweep_page
from nnexp.report.html.markup import Html, page, tag
from nnexp.runs.files import write_text
from nnexp.runs.rundir import is_sweep
from nnexp.search.folder import SweepDir

ENDINGS = (".html", ".htm")


def write_report(
    paths: Sequence[Path],
    out: Path,
    metric: str | None = None,
    margin: float | None = None,
    split: str = "test",
) -> None:
    """Writes the page about what is in the folders, see `report`.

    Raises UsageError for another ending than .html, and as `report` does.
    """
    check_name(out)
    write_text(out, report(paths, metric, margin, split))


def check_name(out: Path) -> None:
    """Raises UsageError if no page can be written there."""
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out: {out} should end in {' or '.join(ENDINGS)}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.parent}")


def report(
    paths: Sequence[Path],
    metric: str | None = None,
    margin: float | None = None,
    split: str = "test",
) -> str:
    """The page: of a run, group, sweep, ablation or curve; or of several runs, or groups, compared.

    metric, margin, split: what a comparison's verdict is about, as for `nnexp compare`.
    Raises UsageError for what can't stand on one page, RunError and DamagedRun for what can't be
    read.
    """
    sweeps = [path for path in paths if is_sweep(path)]
    if sweeps and len(paths) > 1:
        raise UsageError(f"{sweeps[0]} is a sweep, which has a report of its own: give it alone")
    if len(paths) > 1:
        return _compared(paths, metric, margin, split)
    if metric is not None or margin is not None:
        raise UsageError("--metric and --margin are for comparing: give at least two runs")
    return _swept(SweepDir.open(paths[0])) if sweeps else _alone(paths[0])


def _compared(paths: Sequence[Path], metric: str | None, margin: float | None, split: str) -> str:
    found = compare(paths, metric, margin, split)
    results = [read_result(path) for path in paths]
    names = [f"{side.label}: {side.name}" for side in found.sides]
    kind = "groups of runs" if found.sides[0].kind == "group" else "runs"
    about = f"Comparison of {len(paths)} {kind} on {found.split} {found.metric}"
    return _page(names, about, *comparison_page.comparison(found, results))


def _alone(path: Path) -> str:
    result = read_result(path)
    about = "Run"
    if result.members:
        varies = result.manifest.get("varies", "seed")
        about = f"Group of {count(len(result.members), 'run')} that differ in their {varies}"
    task, created = result.summary.get("task"), result.manifest.get("created")
    about += f", {task}" if task else ""
    about += f", {str(created)[:16].replace('T', ' ')}" if created else ""
    return _page([results_page.name_of(result)], about, *results_page.one_result(result))


def _swept(found: SweepDir) -> str:
    state = found.state()
    names = [str(state.get("name") or found.path.name)]
    told = state.get("curve")
    if isinstance(told, Mapping):
        from nnexp.report.html.curve import curve  # what trains curves takes long to import

        about = f"Curve over {_OVER.get(told['over'], told['over'])}, {found.path}"
        return _page(names, about, *curve(found), *sweep_page.asked(found))
    kind = "Ablation" if "ablation" in state else "Sweep"
    return _page(names, f"{kind}, {found.path}", *sweep_page.sweep(found))


_OVER = {"data": "the amount of data", "hidden": "the number of hidden units"}


def _page(names: Sequence[str], about: str, *sections: Html) -> str:
    foot = tag("p", f"made by nnexp {nnexp.__version__}", class_="sub")
    top = results_page.heading(names, about)
    return page(" · ".join(names), top, *sections, tag("footer", foot))
