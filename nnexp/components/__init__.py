"""Everything a config can name, each spec beside its implementation.

Importing this package registers all of it; none of it imports torch.
"""

from nnexp.components import (
    augmentations,
    baselines,
    datasets,
    from_run,
    inits,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    preprocessing,
    regularizers,
    samplers,
    schedules,
    searching,
)

__all__ = [
    "augmentations",
    "baselines",
    "datasets",
    "from_run",
    "inits",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "regularizers",
    "samplers",
    "schedules",
    "searching",
]
