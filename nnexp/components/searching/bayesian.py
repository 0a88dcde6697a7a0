"""Adaptive search methods whose samplers are Optuna's, by its ask-and-tell interface."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from nnexp import streams
from nnexp.components.searching.method import Method, Searcher, tenth
from nnexp.components.searching.space import Draw, Parameter, Space
from nnexp.errors import UsageError
from nnexp.registry import param


class Sampled(Method):
    """A method that Optuna has a sampler for."""

    remembers: ClassVar[bool] = True
    """Whether the sampler's next draws follow from the trials alone, whoever asked for them."""
    conditional: ClassVar[bool] = False
    """Whether the sampler knows of keys that are not always there; the others draw all of them."""
    relaxed: ClassVar[bool] = False
    """Whether choices are handed to the sampler as positions from 0 to 1, as numbers are."""

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        return Asking(self, space, tenth(trials), seed)

    def sampler(self, optuna: Any, batch: int, seed: int) -> Any:
        """Optuna's sampler."""
        raise NotImplementedError


class Tpe(Sampled):
    """Tree-structured Parzen estimator: draws where good trials are dense and bad ones are not.

    Formula: x maximizes l(x) / g(x), the densities of the best trials and of the others

    Use: for mixed spaces, with choices and keys that depend on them; from about 30 trials on.

    Source: Bergstra, Bardenet, Bengio & Kégl (2011), "Algorithms for hyper-parameter optimization".
    """

    name: Literal["tpe"] = "tpe"
    also = ("bayesian", "hyperopt", "optuna", "parzen")
    conditional = True
    random_trials: int = param(10, "trials at the start that are random", ge=1, le=10_000)

    def sampler(self, optuna: Any, batch: int, seed: int) -> Any:
        return optuna.samplers.TPESampler(
            n_startup_trials=self.random_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=seed,
        )


class Gp(Sampled):
    """Gaussian process: a smooth model of the scores with its uncertainty; draws where it expects
    the largest improvement.

    Use: for few numbers and few trials (up to a few hundred); each draw costs a fraction of a
    second.

    Source: Snoek, Larochelle & Adams (2012), "Practical Bayesian optimization of machine learning
    algorithms".
    """

    name: Literal["gp"] = "gp"
    also = ("gaussian_process", "kriging")
    random_trials: int = param(10, "trials at the start that are random", ge=1, le=10_000)

    def sampler(self, optuna: Any, batch: int, seed: int) -> Any:
        return optuna.samplers.GPSampler(
            n_startup_trials=self.random_trials, seed=seed, deterministic_objective=False
        )


class CmaEs(Sampled):
    """Evolution strategy that learns the covariance of good steps.

    Use: for numbers on scales that interact, and many trials (100 and more).

    Source: Hansen & Ostermeier (2001), "Completely derandomized self-adaptation in evolution
    strategies".
    """

    name: Literal["cma_es"] = "cma_es"
    also = ("cmaes", "cma", "evolution_strategy")
    remembers = False
    relaxed = True
    sigma: float = param(0.25, "first step, as a share of each scale", gt=0, le=1)

    def sampler(self, optuna: Any, batch: int, seed: int) -> Any:
        return optuna.samplers.CmaEsSampler(
            n_startup_trials=1, popsize=max(batch, 5), sigma0=self.sigma, seed=seed
        )


class Genetic(Sampled):
    """Genetic algorithm: the best by rank are parents; children mix their keys, and some mutate.

    Use: for spaces of choices with many trials (several hundred).

    Source: Deb, Pratap, Agarwal & Meyarivan (2002), "NSGA-II", here with a single objective.
    """

    name: Literal["genetic"] = "genetic"
    also = ("evolutionary", "ga", "nsga", "nsgaii")
    remembers = False
    population: int | None = param(
        None, "trials of a generation", ge=2, le=10_000, when="null: a tenth of all trials"
    )
    crossover: float = param(0.9, "probability that a child has two parents", ge=0, le=1)
    mutation: float | None = param(
        None, "probability that a key is drawn anew", ge=0, le=1, when="null: 1 / keys"
    )
    patience: int = param(
        10, "generations without a better trial before it stops", ge=1, le=1_000_000
    )

    def searcher(self, space: Space, trials: int, seed: int) -> Searcher:
        batch = min(self.population or trials, tenth(trials))
        return Breeding(self, space, max(batch, 2), seed)

    def sampler(self, optuna: Any, batch: int, seed: int) -> Any:
        return optuna.samplers.NSGAIISampler(
            population_size=self.population or batch,
            crossover_prob=self.crossover,
            mutation_prob=self.mutation,
            seed=seed,
        )


class Asking(Searcher):
    """Asks a sampler of Optuna's. Numbers are handed to it as positions from 0 to 1.

    journal: where its study is written down as Optuna's journal, for other tools to read; nnexp
    itself never reads it (some samplers put pickles into it).
    """

    def __init__(self, method: Sampled, space: Space, batch: int, seed: int) -> None:
        self.method, self.space, self.batch, self.seed = method, space, batch, seed
        self.journal: Path | None = None
        self._study: Any = None
        self._asked: list[Any] = []

    def ask(self, first: int, count: int) -> list[Draw]:
        study = self._begun()
        if self.method.remembers:
            study.sampler = self._sampler(first)
        with _quiet():
            self._asked = [study.ask() for _ in range(count)]
            return [self._draw(trial) for trial in self._asked]

    def tell(self, draws: Sequence[Draw], values: Sequence[float]) -> None:
        failed = _optuna().trial.TrialState.FAIL
        with _quiet():
            for trial, value in zip(self._asked, values, strict=True):
                if math.isfinite(value):
                    self._begun().tell(trial, value)
                else:
                    self._begun().tell(trial, state=failed)
        self._asked = []

    def replay(self, first: int, draws: Sequence[Draw], values: Sequence[float]) -> bool:
        if not self.method.remembers:
            return super().replay(first, draws, values)
        states = _optuna().trial.TrialState
        with _quiet():
            for draw, value in zip(draws, values, strict=True):
                known = math.isfinite(value)
                made = _optuna().trial.create_trial(
                    params=draw,
                    distributions={
                        o.name: _form(o) for o in self.space.parameters if o.name in draw
                    },
                    value=value if known else None,
                    state=states.COMPLETE if known else states.FAIL,
                )
                self._begun().add_trial(made)
        return True

    def _begun(self) -> Any:
        if self._study is None:
            optuna = _optuna()
            storage = None
            with _quiet():
                if self.journal is not None:
                    self.journal.unlink(missing_ok=True)
                    journal = optuna.storages.journal
                    backend = journal.JournalFileBackend(str(self.journal))
                    storage = optuna.storages.JournalStorage(backend)
                self._study = optuna.create_study(
                    storage=storage, sampler=self._sampler(0), study_name="sweep"
                )
        return self._study

    def _sampler(self, first: int) -> Any:
        seed = streams.key(self.seed, streams.SEARCH, first) & 0x7FFFFFFF
        with _quiet():
            return self.method.sampler(_optuna(), self.batch, seed)

    def _draw(self, trial: Any) -> Draw:
        draw: Draw = {}
        for one in self.space.parameters:
            if self.method.conditional and one not in self.space.active({**draw, one.name: 0.0}):
                continue
            count = one.domain.count
            if count is None or self.method.relaxed:
                u = trial.suggest_float(one.name, 0.0, 1.0)
                draw[one.name] = u if count is None else min(math.floor(u * count), count - 1)
            else:
                draw[one.name] = trial.suggest_categorical(one.name, list(range(count)))
        return draw


class Breeding(Asking):
    """Asks for generations until they no longer improve."""

    method: Genetic

    def __init__(self, method: Genetic, space: Space, batch: int, seed: int) -> None:
        super().__init__(method, space, batch, seed)
        self._best, self._since = math.inf, 0

    def ask(self, first: int, count: int) -> list[Draw]:
        done = self._since >= self.method.patience * (self.method.population or self.batch)
        return [] if done else super().ask(first, count)

    def tell(self, draws: Sequence[Draw], values: Sequence[float]) -> None:
        super().tell(draws, values)
        for value in values:
            self._since = 0 if value < self._best else self._since + 1
            self._best = min(value, self._best)


def _form(one: Parameter) -> Any:
    kinds = _optuna().distributions
    if one.domain.count is not None:
        return kinds.CategoricalDistribution(list(range(one.domain.count)))
    return kinds.FloatDistribution(0.0, 1.0)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "this search method needs Optuna: pip install 'nnexp[sweep]' (grid, random and "
            "coarse_to_fine do without)"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _quiet() -> warnings.catch_warnings[None]:
    return warnings.catch_warnings(action="ignore")
