"""Configs as a table, a row a key, with what differs or what was written marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnexp.analysis.comparing.compare import letters
from nnexp.analysis.results import Result
from nnexp.report.html.markup import Content, Html, folded, join, table, tag
from nnexp.runs.rundir import RunDir

_ABSENT = object()


@dataclass(frozen=True)
class Row:
    """A key and its value in each config (`–` where there is none)."""

    path: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


def config_table(results: Sequence[Result]) -> Html:
    """Of several configs what differs comes first, marked; of one what its file says is marked."""
    rows = list(merged([result.config for result in results]))
    if len(results) > 1:
        head = ["", *map(letters, range(len(results)))]
        different = [row for row in rows if row.differs]
        same = [row for row in rows if not row.differs]
        first = _table(head, different, True) if different else tag("p", "They are the same.")
        return join([first, folded(f"The same in all: {len(same)} keys", _table(head, same))])
    said = _written(results[0])
    written = [row for row in rows if _is_said(row.path, said)]
    rest = [row for row in rows if row not in written]
    if not written:
        return _table(("", ""), rest)
    other = "the rest is the base's or default" if "base" in said else "the rest is default"
    note = tag("p", tag("mark", "marked"), f": as written; {other}", class_="sub")
    return join(
        [
            note,
            _table(("", ""), written, True),
            folded(f"The rest: {len(rest)} keys", _table(("", ""), rest)),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Row], marked: bool = False) -> Html:
    lines = [_cells(row, marked) for row in rows]
    return table(head, lines, range(len(head)), "config") if rows else Html("")


def merged(values: Sequence[Any], path: str = "") -> Iterator[Row]:
    """The keys of all configs, in their order, down to plain values; null and {} are left out."""
    there = [value for value in values if value is not _ABSENT]
    keys: dict[Any, None] = {}
    for value in there:
        if isinstance(value, Mapping):
            keys |= dict.fromkeys(value)
        elif _is_nested(value):
            keys |= dict.fromkeys(range(len(value)))
    plain = [_ABSENT if isinstance(v, Mapping) or _is_nested(v) else v for v in values]
    if any(value is not _ABSENT and value is not None and value != [] for value in plain):
        yield Row(path, tuple(_text(value) for value in plain))
    for key in keys:
        inner = f"{path}.{key}" if path else str(key)
        yield from merged([_part(value, key) for value in values], inner)


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value)


def _part(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get(key, _ABSENT)
    if _is_nested(value) and isinstance(key, int):
        return value[key] if key < len(value) else _ABSENT
    return _ABSENT


def _text(value: Any) -> str:
    if value is _ABSENT or value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cells(row: Row, marked: bool) -> list[Content]:
    values = [tag("mark", x) if marked else x for x in row.values]
    return [tag("code", row.path), *values]


def _written(result: Result) -> dict[str, Any]:
    """What the config's file, or an option, says, by key."""
    stored = RunDir(result.path)
    said = dict(_plain(stored.read_yaml(stored.config))) if stored.config.exists() else {}
    options = result.manifest.get("overrides") or ()
    return said | dict.fromkeys(str(option).partition("=")[0] for option in options)


def _plain(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _plain(item, f"{path}.{key}" if path else str(key))
    elif _is_nested(value):
        for i, item in enumerate(value):
            yield from _plain(item, f"{path}.{i}")
    else:
        yield path, value


def _is_said(path: str, said: Mapping[str, Any]) -> bool:
    """Whether a resolved key stands in the file, where a component may be a name or a number alone,
    and a list of them a list of names.
    """
    if path in said:
        return True
    *owner, last = path.split(".")
    if last not in ("name", "coefficient"):
        return False
    if ".".join(owner) in said:
        return True
    listed = said.get(".".join(owner[:-1]))
    return isinstance(listed, list) and owner[-1].isdigit() and int(owner[-1]) < len(listed)
