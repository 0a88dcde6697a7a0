"""Whether results may be compared at all: what differs in configs, data, splits and state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnexp.analysis.results import Result

_SEEDS = ("seed", "data.split.seed")


@dataclass(frozen=True)
class ConfigDifference:
    """A key whose value is not the same in all resolved configs; an absent one is None."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Check:
    """Something that should be the same for a fair comparison.

    same: None if it can't be told. text: the finding in words.
    """

    name: str
    same: bool | None
    text: str


def config_differences(results: Sequence[Result]) -> tuple[ConfigDifference, ...]:
    """Keys of the resolved configs that differ, by path; and plugins, by their SHA-256.

    The name is left out, as it labels what is compared; and of groups the seeds, which vary. A
    committee has the config of its first network, and a key that says how many they are. A model
    from elsewhere has none, so only its model differs.
    """
    foreign = [bool(result.manifest.get("elsewhere")) for result in results]
    flat = [
        {"model.name": "elsewhere"}
        if is_foreign
        else {**_committee(result), **dict(_flatten(result.config)), **_plugins(result)}
        for result, is_foreign in zip(results, foreign, strict=True)
    ]
    if any(foreign):
        own = [config for config, is_foreign in zip(flat, foreign, strict=True) if not is_foreign]
        paths = dict.fromkeys(path for config in own for path in config)
        same = [p for p in paths if all(config.get(p) == own[0].get(p) for config in own)]
        dropped = {path for path in same if path != "model.name"}
        flat = [{k: v for k, v in config.items() if k not in dropped} for config in flat]
    ignored = {"name", *(_SEEDS if any(r.kind == "group" for r in results) else ())}
    paths = dict.fromkeys(path for config in flat for path in config if path not in ignored)
    rows = (ConfigDifference(p, tuple(config.get(p) for config in flat)) for p in paths)
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))


def _committee(result: Result) -> dict[str, Any]:
    members = result.manifest.get("ensemble")
    return {"committee": f"of {len(members)} models"} if isinstance(members, list) else {}


def comparability(results: Sequence[Result], split: str) -> tuple[Check, ...]:
    """Status, data, split and examples of all results held against the first one's."""
    data = [_text(result, "data", "fingerprint") for result in results]
    return (
        _status(results),
        _equal("data", data, "the same data", "the data differ (another fingerprint)"),
        _splits(results),
        _examples(results, split),
    )


def other_data(a: Result, b: Result) -> bool:
    """Whether it is recorded that two results saw different data."""
    prints = [_text(result, "data", "fingerprint") for result in (a, b)]
    return None not in prints and prints[0] != prints[1]


def warnings(results: Sequence[Result], labels: Sequence[str]) -> Iterator[str]:
    """What makes the numbers say less than they seem to, as sentences."""
    for label, result in zip(labels, results, strict=True):
        sizes = _additions(result)
        if len(sizes) > 1:
            steps = " → ".join(map(str, sizes))
            yield (
                f"Seeds were added to {label} after a look ({steps}), so the 5 % level no longer "
                "holds: with looks at 5, 10, 20 and 40 seeds, 14.6 % of equal recipes are called "
                "different. Settle the number of seeds before looking."
            )
        if result.manifest.get("elsewhere"):
            yield (
                f"{label} is from elsewhere: whether it was trained on any of these examples is "
                "not recorded."
            )
        if result.status not in ("finished", "diverged"):
            yield f"{label} is {result.status}: these are the scores of unfinished training."


def _flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for i, item in enumerate(value):
            yield from _flatten(item, f"{path}.{i}")
    else:
        yield path, value


def _plugins(result: Result) -> dict[str, Any]:
    plugins = result.manifest.get("plugins") or ()
    return {f"plugins.{plugin['name']}": plugin["sha256"][:12] for plugin in plugins}


def _text(result: Result, section: str, key: str) -> str | None:
    part = result.manifest.get(section)
    value = part.get(key) if isinstance(part, Mapping) else None
    return value if isinstance(value, str) else None


def _equal(name: str, values: Sequence[str | None], same: str, different: str) -> Check:
    if None in values:
        return Check(name, None, "not recorded")
    equal = all(value == values[0] for value in values)
    return Check(name, equal, same if equal else different)


def _status(results: Sequence[Result]) -> Check:
    states = [result.status for result in results]
    for i, result in enumerate(results):
        diverged = sum(run.status == "diverged" for run in result.members)
        if diverged:
            states[i] += f" ({diverged} of {len(result.members)} members diverged)"
    return Check("status", all(state == "finished" for state in states), ", ".join(states))


def _splits(results: Sequence[Result]) -> Check:
    if any(result.manifest.get("varies") == "split" for result in results):
        hashes = [{_text(run, "split", "train") for run in result.runs} for result in results]
        if any(None in values for values in hashes):
            return Check("split", None, "not recorded")
        common = len(set.intersection(*hashes))
        of = ", ".join(str(len(values)) for values in hashes)
        same = all(values == hashes[0] for values in hashes)
        return Check("split", same, f"{common} training splits in all, of {of}")
    train = [_text(result.runs[0], "split", "train") for result in results]
    return _equal("split", train, "the same training examples", "other training examples")


def _examples(results: Sequence[Result], split: str) -> Check:
    ids = []
    for result in results:
        seen: set[str] = set()
        runs = [run for run in result.runs if run.answered]
        for run in runs if result.manifest.get("varies") == "split" else runs[:1]:
            seen.update(run.predictions(split).ids)
        ids.append(seen)
    common = len(set.intersection(*ids))
    of = ", ".join(str(len(values)) for values in ids)
    same = all(values == ids[0] for values in ids)
    return Check(f"{split} examples", same, f"{common} in all, of {of}")


def _additions(result: Result) -> list[int]:
    """How many members a group had after each time that members were added."""
    entries = result.manifest.get("additions")
    if not isinstance(entries, list):
        return []
    sizes = [entry.get("members") for entry in entries if isinstance(entry, Mapping)]
    return [size for size in sizes if isinstance(size, int)]
