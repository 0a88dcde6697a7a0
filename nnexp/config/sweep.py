"""The section `sweep` of a config: what to search over, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import field_validator

from nnexp.components.searching.domain import Domain
from nnexp.components.searching.method import Method, RandomSearch
from nnexp.registry import KeyedBy, OneOf, Spec, param, rule

Searched = Annotated[dict[str, Domain], KeyedBy]


class Halving(Spec):
    """Successive halving: of each pack's trials the worst leave early.

    After `first` epochs the best 1 / `factor` go on, after `factor` times as many again, and so on
    (Jamieson & Talwalkar 2016, "Non-stochastic best arm identification").
    """

    first: int = param(1, "epochs before the first cut", unit="epochs", ge=1, le=1_000_000)
    factor: int = param(3, "one of so many goes on", ge=2, le=100)


class Sweep(Spec):
    """A search over hyper-parameters and seeds. `nnexp train` passes over this section."""

    short_forms = {
        "search": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}},
            {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [{"type": "null"}, {"type": "array"}, {"$ref": "#/$defs/domain"}]
                },
            },
        ]
    }
    search: dict[str, Searched] = param(
        ...,
        "keys and the values to try: `optimizer.lr: {log_uniform: [1e-4, 1]}`, a list of choices, "
        "or only the keys, for their own ranges",
        min_length=1,
        max_length=100,
        also=("parameters", "params", "space"),
    )
    method: OneOf[Method] = param(RandomSearch(), "how the next trials are chosen")
    trials: int = param(
        32, "how many configs are tried", ge=1, le=100_000, also=("budget", "n_trials", "samples")
    )
    seeds: int = param(1, "a trial's score is the mean over so many seeds", ge=1, le=10_000)
    metric: str | None = param(
        None, "what decides, such as dev/loss", when="null: the primary metric on dev"
    )
    halving: Halving | None = param(None, "stop the worst trials early", also=("pruning", "asha"))
    time_limit: float | None = param(
        None, "no new trials after so long", unit="minutes", gt=0, le=1e7, also=("max_minutes",)
    )
    fresh_seeds: int = param(
        10,
        "seeds, not used before, with which the winner is trained again for its honest score",
        ge=0,
        le=10_000,
    )
    arms: dict[str, dict[str, Any]] = param(
        {},
        "alternatives, each a few keys with their values: each is tuned with the same budget, then "
        "the winners are compared",
        max_length=20,
        also=("alternatives", "compare"),
    )
    keep: Literal["scores", "all"] = param(
        "scores", "what a trial leaves: its config and scores, or weights and predictions, too"
    )
    seed: int = param(0, "start of the search's own randomness", ge=0, le=2**53)

    @field_validator("search", mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        """`optimizer.lr` and `[optimizer.lr, …]` for their own ranges, a list for a choice."""
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list) and all(isinstance(key, str) for key in value):
            return {key: {} for key in value}
        if not isinstance(value, Mapping):
            return value
        short = {k: {"choice": v} if isinstance(v, list) else v for k, v in value.items()}
        return {k: {} if v is None else v for k, v in short.items()}

    @field_validator("search")
    @classmethod
    def _one_domain(cls, value: dict[str, dict[str, Domain]]) -> dict[str, dict[str, Domain]]:
        for key, domains in value.items():
            if len(domains) > 1:
                raise rule(f"{key} has {len(domains)} domains: {', '.join(domains)}", "one")
        return value

    @field_validator("arms")
    @classmethod
    def _several(cls, value: dict[str, Any]) -> dict[str, Any]:
        if len(value) == 1:
            raise rule("one arm has nothing to be compared with", allowed="two arms or more")
        return value
