"""Everything a config can name, each spec beside its implementation.

Importing this package registers all of it; none of it imports torch.
"""

from nnexp.components import (
    activations,
    datasets,
    inits,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    preprocessing,
    regularizers,
    schedules,
)

__all__ = [
    "activations",
    "datasets",
    "inits",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "regularizers",
    "schedules",
]
