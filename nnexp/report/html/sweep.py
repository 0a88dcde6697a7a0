"""The parts of a report that are about a sweep or an ablation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nnexp.errors import DamagedRun, count
from nnexp.report.ablation import p_cell
from nnexp.report.figures.style import shorten
from nnexp.report.html import charts
from nnexp.report.html.comparison import sentence, warnings
from nnexp.report.html.markup import (
    Content,
    Html,
    card,
    cards,
    folded,
    join,
    pair,
    section,
    table,
    tag,
)
from nnexp.report.html.svg import Chart, blend, label, picture
from nnexp.report.numbers import interval, spread, value
from nnexp.report.sweep_table import Axis, axis_of, number
from nnexp.runs.index import TRIALS, trial_rows
from nnexp.runs.rundir import RunDir
from nnexp.search.folder import SweepDir

_ASIDE = ("trial", "state", "sd", "epochs", "seconds")
_TOP = 10
"""Trials in the table."""
_THICK = 5
_NARROW = 2
"""Keys up to which trials take half the page's width."""
_LINES = 400
"""Trials that are drawn, the best ones."""
_ABSENT = -0.08
"""Where a line passes an axis whose key its trial does not have."""


@dataclass(frozen=True)
class Search:
    """The trials of a sweep, or of an arm: the finished ones, the best first, and the rest."""

    metric: str
    axes: Sequence[Axis]
    score: Axis
    good: Sequence[Mapping[str, str]]
    rest: Sequence[Mapping[str, str]]


def sweep(found: SweepDir) -> Iterator[Html]:
    """All sections about a sweep; of arms each one's, and who won."""
    state = found.state()
    summary = found.read(found.summary) if found.summary.is_file() else {}
    if isinstance(state.get("ablation"), Mapping):
        yield from _ablation(summary)
        yield from asked(found)
        return
    if state.get("status") != "finished":
        yield tag("p", f"The sweep is {state.get('status')}.", class_="warning")
    arms = state["sweep"]["arms"]
    if not arms:
        yield from _searched(found, state, summary, "")
    else:
        yield _tuned(summary.get("comparison"), list(arms))
        for arm in arms:
            home = SweepDir(found.path / "arms" / arm)
            told = home.read(home.summary) if home.summary.is_file() else {}
            yield from _searched(home, state, told, f"{arm}: ")
    yield section("What was searched", _domains(state["sweep"]["search"]))
    yield from asked(found)


# -- a search --------------------------------------------------------------------------------------


def _searched(
    home: SweepDir, state: Mapping[str, Any], summary: Mapping[str, Any], name: str
) -> Iterator[Html]:
    if not home.table.is_file():
        yield section(_title(name, "trials"), tag("p", "There are none yet."))
        return
    rows = trial_rows(home.path)
    lacking = {"trial", "state", state["metric"]} - set(rows[0] if rows else ())
    if rows and lacking:
        raise DamagedRun(f"{home.path / TRIALS}: there is no column '{min(lacking)}'")
    scales = home.state().get("scales") or state.get("scales") or {}
    search = read_search(rows, state["metric"], state["higher_is_better"], scales)
    shares = importance(summary)
    told = [f"{len(search.good)} finished"]
    for word in ("pruned", "diverged", "invalid"):
        total = sum(row["state"] == word for row in rows)
        told += [f"{total} {word}"] if total else []
    line = tag("p", f"{count(len(rows), 'trial')}: {', '.join(told)}", class_="sub")
    is_wide = len(search.axes) > _NARROW
    tables = [_best(search), _winner(summary)]
    yield section(_title(name, "best trials"), line, *(tables if is_wide else [pair(*tables)]))
    if search.good:
        drawn = card("", tag("div", parallel(search), class_="wide", tabindex="0"), note=_LINES_ARE)
        yield section(_title(name, "trials"), drawn if is_wide else None)
        shown = [*([] if is_wide else [drawn]), *slices(search, shares)]
        yield section(_title(name, "what mattered"), charts.bars(shares), cards(shown))


def _title(arm: str, words: str) -> str:
    """`Best trials`, of an arm `raw: best trials`."""
    return f"{arm}{words}" if arm else words.capitalize()


def read_search(
    rows: Sequence[Mapping[str, str]], metric: str, higher: bool, scales: Mapping[str, str]
) -> Search:
    """The rows of trials.csv in order, each key on its scale."""
    ended = [r for r in rows if r["state"] == "finished" and math.isfinite(number(r[metric]))]
    ended.sort(key=lambda row: number(row[metric]) * (-1 if higher else 1))
    rest = [row for row in rows if row["state"] in ("pruned", "diverged")]
    keys = [key for key in rows[0] if key not in (*_ASIDE, metric)] if rows else []
    axes = [axis_of(key, [row[key] for row in rows], scales.get(key)) for key in keys]
    score = axis_of(metric, [row[metric] for row in ended]) if ended else Axis(metric, "linear")
    return Search(metric, axes, score, ended, rest)


def importance(summary: Mapping[str, Any]) -> dict[str, float]:
    """By key; what belongs to one choice only, `schedule[step].gamma`, by its key."""
    found: dict[str, float] = {}
    for name, share in (summary.get("importance") or {}).items():
        key = re.sub(r"\[.*?\]", "", name)
        found[key] = found.get(key, 0.0) + share
    return found


def _best(search: Search) -> Html:
    if not search.good:
        return tag("p", "No trial has a score.")
    keys = [axis.key for axis in search.axes]
    rows = [
        (row["trial"], value(number(row[search.metric])), *(_cell(row[key]) for key in keys))
        for row in search.good[:_TOP]
    ]
    return table(("trial", search.metric, *keys), rows)


def _cell(text: str) -> str:
    x = number(text)
    return shorten(text or "–", 24) if math.isnan(x) else f"{x:.4g}"


def _winner(summary: Mapping[str, Any]) -> Html:
    """The winner's score in the search, and on fresh seeds."""
    fresh, best = summary.get("fresh"), summary.get("best")
    if not fresh or not best:
        return Html("")
    metric = str(summary["metric"])
    part, _, name = metric.partition("/")
    rows: list[Sequence[Content]] = [
        (f"{metric} in the search (trial {best['trial']})", value(best["score"]), "")
    ]
    for split in (part, "test"):
        if split in fresh:
            told = f"{split} {name} on {count(fresh['seeds'], 'fresh seed')}"
            scored = fresh[split]
            rows.append((told, tag("b", value(scored["mean"])), interval(scored["interval"])))
    last = "test" if "test" in fresh else part
    told = f"selection bias: search − {last} (the best of many is lucky in part)"
    rows.append((told, f"{fresh['selection_bias']:+.3g}", ""))
    return table(("the winner", "", "95 % interval"), rows)


def _tuned(found: Any, arms: Sequence[str]) -> Html:
    """The verdicts on the arms' winners."""
    if not isinstance(found, Mapping):
        return Html("")
    names = [f"{side['label']} = {arm}" for side, arm in zip(found["runs"], arms, strict=True)]
    pairs = found["pairs"]
    rows = [(f"{p['b']} − {p['a']}", p["difference"], p["interval"]) for p in pairs]
    drawn = charts.forest(rows, f"{found['split']} {found['metric']}", found.get("margin"))
    return section(
        "Tuned against tuned",
        tag("p", ", ".join(names), class_="sub"),
        *warnings(found["warnings"]),
        tag(
            "div",
            *(tag("div", sentence(p["sentence"], p["verdict"]), class_="verdict") for p in pairs),
            card("Differences", drawn),
            class_="tiles two",
        ),
    )


# -- pictures of trials ----------------------------------------------------------------------------

_LINES_ARE = "a line a trial, its colour by rank; thick: the best 5; faint: pruned or diverged"


def parallel(search: Search) -> Html:
    """A line a trial over the searched keys to its score on the right."""
    columns = [*search.axes, search.score]
    step, left, top, height = 112.0, 20.0, 46.0, 250.0
    size = (left + step * len(columns), top + height + 34)

    def d(row: Mapping[str, str]) -> str:
        places = [axis.place(row[axis.key]) for axis in columns]
        ups = [p if 0 <= p <= 1 else _ABSENT for p in places]
        end = len(ups) if 0 <= places[-1] <= 1 else len(ups) - 1
        points = (f"{left + i * step:.0f} {top + (1 - y) * height:.1f}" for i, y in enumerate(ups))
        return "M" + "L".join(list(points)[:end])

    last = max(len(search.good) - 1, 1)
    drawn = [tag("path", d=d(row), class_="thin") for row in search.rest[:_LINES]]
    for rank in reversed(range(min(len(search.good), _LINES))):
        row = search.good[rank]
        about = tag("title", f"trial {row['trial']}: {search.metric} {row[search.metric]}")
        width = "" if rank < _THICK else ";stroke-width:.9;opacity:.6"
        style = blend(rank / last) + width
        drawn.append(tag("path", about, d=d(row), class_="curve", style=style))
    for i, axis in enumerate(columns):
        x = left + i * step
        drawn.append(tag("line", x1=x, x2=x, y1=top, y2=top + height, class_="axis"))
        owner, dot, key = axis.key.rpartition(".")
        for line, words in enumerate([owner + dot, key]):
            drawn.append(label(x - 4, 16 + 15 * line, shorten(words, 15)))
        absent = axis is not search.score and not all(row[axis.key] for row in search.good)
        for place, words in [*axis.ticks(), *([(_ABSENT, "none")] if absent else [])]:
            y = top + (1 - place) * height
            drawn.append(label(x + 5, y + 4, shorten(words, 14), class_="tick halo"))
    whole = picture(size, "trials over the searched keys", *drawn)
    return tag("div", whole, style=f"min-width:{size[0]:.0f}px;max-width:{1.5 * size[0]:.0f}px")


def slices(search: Search, shares: Mapping[str, float]) -> list[Html]:
    """The score against each key, those that mattered most first."""
    low, high = search.score.low, search.score.high
    room = 0.06 * (high - low) or 0.5
    score = replace(search.score, low=low - room, high=high + room)
    if search.score.scale != "linear":
        score = search.score
    drawn = []
    for axis in sorted(search.axes, key=lambda one: -shares.get(one.key, 0.0)):
        unit = Axis("", "linear", -0.04, 1.04)
        ticks = [(unit.at(place), words) for place, words in axis.ticks()]
        chart = Chart(unit, score, (shorten(axis.key, 40), search.metric), columns=ticks)
        for rank in reversed(range(min(len(search.good), _LINES))):
            row = search.good[rank]
            place, y = axis.place(row[axis.key]), number(row[search.metric])
            if math.isfinite(place):
                about = f"trial {row['trial']}: {row[axis.key]}, {row[search.metric]}"
                if axis.scale == "choice":  # side by side, not all on one spot
                    spot = (int(row["trial"]) * 0.618) % 1 - 0.5
                    place += 0.5 * spot / max(len(axis.options), 1)
                chart.dot(place, y, "dot c0", 3, about)
                if rank == 0:
                    chart.dot(place, y, "ring", 6)
        share = f" ({shares[axis.key]:.0%})" if axis.key in shares else ""
        drawn.append(card(axis.key + share, chart.draw(f"{search.metric} against {axis.key}")))
    return drawn


# -- what was asked --------------------------------------------------------------------------------


def _domains(search: Mapping[str, Any]) -> Html:
    rows = [(tag("code", key), _domain(given)) for key, given in search.items()]
    return table(("", ""), rows, left=(0, 1))


def _domain(given: Mapping[str, Any]) -> str:
    """`log_uniform 0.001 to 1`"""
    if not given:
        return "its own range"
    ((name, options),) = given.items()
    if name == "choice":
        return ", ".join(map(_option, options["options"]))
    ends = options.get("range") if isinstance(options, Mapping) else None
    return f"{name} {ends[0]:g} to {ends[1]:g}" if ends else str(name)


def _option(option: Any) -> str:
    return str(option.get("name", option)) if isinstance(option, Mapping) else str(option)


def asked(found: SweepDir) -> Iterator[Html]:
    """The config as it was written."""
    if found.config.is_file():
        text = RunDir(found.path).read_text(found.config)
        yield section("Config", folded("as written", tag("pre", tag("code", text))))


# -- an ablation -----------------------------------------------------------------------------------


def _ablation(summary: Mapping[str, Any]) -> Iterator[Html]:
    """What each part contributes, with its interval; then the cells."""
    if not summary:
        yield tag("p", "The ablation is not finished: there are no results yet.", class_="warning")
        return
    metric, effects = f"{summary['split']} {summary['metric']}", summary["effects"]
    better = "higher" if summary["higher_is_better"] else "lower"
    rows = [
        (
            one["label"],
            f"{one['difference']:+.4g}",
            interval(one["interval"]),
            p_cell(one["p_adjusted"]),
            one["verdict"],
        )
        for one in effects
    ]
    head = ("effect", "difference", "95 % interval", "p (Holm)", "verdict")
    lines = [(one["label"], one["difference"], one["interval"]) for one in effects]
    drawn = charts.forest(lines, f"{metric}: with − without", None)
    yield section(
        "What each part contributes",
        tag("p", f"{metric}, with − without; {better} is better", class_="sub"),
        pair(table(head, rows, left=(0, 4)), card("Effects", drawn, note="bar: 95 % interval")),
        join(tag("p", text, class_="sub") for text in summary["notes"]),
    )
    cells = [(cell["label"], spread(cell["score"])) for cell in summary["cells"]]
    yield section("Cells", table(("cell", metric), cells))
