"""From the section `sweep` to a search space: own ranges, and keys that depend on a choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from nnexp.components.searching.domain import Choice, Domain
from nnexp.components.searching.space import Parameter, Space
from nnexp.config.experiment import Experiment
from nnexp.config.faults import Spot, walk
from nnexp.config.ranges import own_domain
from nnexp.config.source import Node, Place, key_place, plain, put
from nnexp.config.sweep import Sweep
from nnexp.errors import ConfigError, Problem, nearest
from nnexp.registry import choose, names_of

RESERVED = ("sweep", "base", "name")


def build_space(sweep: Sweep, base: Node, written: Node | None = None) -> Space:
    """The parameters of a sweep over a config. Raises ConfigError.

    base: the config. written: the file that has the section, for the places of problems.

    A key within a component that is itself searched for is there where the chosen component has
    such a key. A choice's components may hold domains: those are parameters of that choice alone.
    """
    found: list[Parameter] = []
    problems: list[Problem] = []
    for path, given in sorted(sweep.search.items(), key=lambda item: item[0].count(".")):
        place = str(key_place(written or base, ("sweep", "search", path)))
        try:
            found += _parameters(path, dict(given), base, found)
        except _Unfit as error:
            problems.append(Problem(place, f"sweep.search.{path}", str(error), hint=error.hint))
        except ConfigError as error:
            problems += [Problem(place, p.path, p.message, hint=p.hint) for p in error.problems]
    if problems:
        raise ConfigError(problems)
    return Space(tuple(found))


def scales(space: Space) -> dict[str, str]:
    """The scale of each key: linear, log, one_minus_log or choice."""
    found: dict[str, str] = {}
    for one in space.parameters:
        found.setdefault(one.path, one.domain.scale)
    return found


class _Unfit(Exception):
    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def _parameters(
    path: str, given: dict[str, Domain], base: Node, before: list[Parameter]
) -> Iterator[Parameter]:
    """The parameter that sets a key, and those within its choices."""
    if path.split(".", maxsplit=1)[0] in RESERVED:
        raise _Unfit("can't be searched over")
    when, variant = _condition(path, base, before)
    spot = _spot(variant, path)
    domain = _filled(next(iter(given.values()), None), spot)
    if isinstance(domain, Choice):
        inner: list[Parameter] = []
        options = []
        for number, option in enumerate(domain.options):
            option = _with_parts(option, path, number, variant, inner)
            options.append(option)
        yield Parameter(path, path, Choice(options=options), when)
        yield from inner
    else:
        yield Parameter(path, path, domain, when)


def _condition(
    path: str, base: Node, before: list[Parameter]
) -> tuple[tuple[str, frozenset[int]] | None, Node]:
    """On which choice a key depends, and a config in which it is there."""
    for one in reversed(before):
        if not path.startswith(f"{one.path}.") or not isinstance(one.domain, Choice):
            continue
        variants = [_variant(base, one.path, option) for option in one.domain.options]
        there = frozenset(i for i, node in enumerate(variants) if _spot_or_none(node, path))
        if not there:
            raise _Unfit(f"none of the choices for {one.path} has such a key")
        first = variants[min(there)]
        return (None if len(there) == len(variants) else (one.name, there)), first
    return None, base


def _variant(base: Node, path: str, value: Any) -> Node:
    return put(base, path, value, Place("sweep"))


def _spot_or_none(node: Node, path: str) -> Spot | None:
    keys = [int(part) if part.isdigit() else part for part in path.split(".")]
    spot = walk(Experiment, plain(node), keys)
    return spot if spot.arms else None


def _spot(node: Node, path: str) -> Spot:
    """Where a key stands. Raises _Unfit if there is no such key."""
    spot = _spot_or_none(node, path)
    if spot is None:
        above = path.rpartition(".")[0]
        owner = _spot_or_none(node, path) or walk(Experiment, plain(node), path.split("."))
        names = [n for n in owner.owner.model_fields if n != "name"]
        close = nearest(path.rpartition(".")[2], names)
        hint = f"did you mean {above}{'.' if above else ''}{close}?" if close else ""
        raise _Unfit("there is no such key", hint)
    return spot


def _filled(domain: Domain | None, spot: Spot) -> Domain:
    """The domain with the key's own range where it has none."""
    if domain is not None and getattr(domain, "range", ()) is not None:
        return domain
    own = _own(spot)
    if domain is None and own is not None:
        return own
    ends = getattr(own, "range", None)
    if domain is None or ends is None:
        arms = {arm.kind: arm for arm in spot.arms}
        names = names_of(arms["choice"].type) if "choice" in arms else ""
        raise _Unfit("has no range of its own", f"name the values, such as [{names or 'a, b'}]")
    kind = type(domain)
    ends = (
        [int(end) for end in ends] if kind.model_fields["range"].annotation == list[int] else ends
    )
    try:
        return kind.model_validate({**domain.model_dump(), "range": ends})
    except ValidationError as error:
        raise _Unfit(error.errors(include_url=False)[0]["msg"]) from None


def _own(spot: Spot) -> Domain | None:
    key = str(spot.path[-1])
    fields = spot.owner.model_fields
    if key not in fields and spot.owner.shorthand:  # `regularization.l2`
        key = spot.owner.shorthand
    return own_domain(fields[key]) if key in fields else None


# -- domains within a choice -----------------------------------------------------------------------


def _with_parts(option: Any, path: str, number: int, base: Node, inner: list[Parameter]) -> Any:
    """A choice's component without the domains that it holds; these become parameters."""
    if not isinstance(option, Mapping) or "name" not in option:
        return option
    kept: dict[str, Any] = {}
    for key, value in option.items():
        domain = _domain(value)
        if domain is None:
            kept[key] = value
            continue
        within = f"{path}.{key}"
        variant = _variant(base, path, {**{k: v for k, v in option.items() if not _domain(v)}})
        filled = _filled(domain, _spot(variant, within))
        inner.append(
            Parameter(
                f"{path}[{option['name']}].{key}", within, filled, (path, frozenset([number]))
            )
        )
    return kept


def _domain(value: Any) -> Domain | None:
    """The domain that a value within a choice describes, if it does."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    ((name, given),) = value.items()
    if name not in Domain.registered:
        return None
    kind = Domain.registered[name]
    given = given if isinstance(given, Mapping) else {kind.shorthand: given}
    try:
        found = choose(Domain, {"name": name, **given})
    except ValidationError as error:
        raise _Unfit(error.errors(include_url=False)[0]["msg"]) from None
    assert isinstance(found, Domain)
    return found
