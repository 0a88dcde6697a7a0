"""All that a component of your own needs, in one place.

A file such as this one, `focal.py`, makes a loss that `nnexp --plugin focal.py train …` knows:

    from __future__ import annotations
    from typing import Literal
    from nnexp.plugins import Loss, param, torch

    class Focal(Loss):
        \"\"\"−(1 − p)^γ log p of the right class: easy examples count less.\"\"\"

        name: Literal["focal"] = "focal"
        gamma: float = param(2.0, "γ: how much less", ge=0, le=10)

        def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            right = torch.log_softmax(outputs, -1).gather(-1, target[..., None])[..., 0]
            return -((1.0 - right.exp()) ** self.gamma) * right

What each kind of component gives is said in its base class, one of those below.
"""

from nnexp import streams
from nnexp.components.augmentations.base import Augmentation, Chance
from nnexp.components.baselines import Baseline, Examples, Fitted
from nnexp.components.datasets.dataset import Dataset
from nnexp.components.inits import Initializer
from nnexp.components.layer import (
    Context,
    Declared,
    Fit,
    Hyper,
    Layer,
    Seen,
    Shape,
    Slot,
    Tensors,
    per_member,
)
from nnexp.components.layers.activations import Activation
from nnexp.components.layers.basic import Linear
from nnexp.components.layout import Scope
from nnexp.components.losses.loss import Loss
from nnexp.components.metrics.metric import Averaged, Metric, Scored
from nnexp.components.models.model import Model
from nnexp.components.optimizers.optimizer import Moment, Optimizer, subtract
from nnexp.components.preprocessing.step import Step, TrainingRows
from nnexp.components.regularizers import Regularizer, Sizes
from nnexp.components.samplers import Among, Sampler
from nnexp.components.schedules import Progress, Schedule
from nnexp.components.searching.domain import Domain
from nnexp.components.searching.method import Method, Searcher
from nnexp.components.table import Features, Table
from nnexp.data.splits import Parts, Splitter
from nnexp.errors import DataError
from nnexp.lazy import functional, torch
from nnexp.registry import OneOf, param, rule

__all__ = [
    "Activation",
    "Among",
    "Augmentation",
    "Averaged",
    "Baseline",
    "Chance",
    "Context",
    "DataError",
    "Dataset",
    "Declared",
    "Domain",
    "Examples",
    "Features",
    "Fit",
    "Fitted",
    "Hyper",
    "Initializer",
    "Layer",
    "Linear",
    "Loss",
    "Method",
    "Metric",
    "Model",
    "Moment",
    "OneOf",
    "Optimizer",
    "Parts",
    "Progress",
    "Regularizer",
    "Sampler",
    "Schedule",
    "Scope",
    "Scored",
    "Searcher",
    "Seen",
    "Shape",
    "Sizes",
    "Slot",
    "Splitter",
    "Step",
    "Table",
    "Tensors",
    "TrainingRows",
    "functional",
    "param",
    "per_member",
    "rule",
    "streams",
    "subtract",
    "torch",
]
