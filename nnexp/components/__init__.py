"""Everything a config can name, each spec beside its implementation.

Importing this package registers all of it; none of it imports torch.
"""

from nnexp.components import (
    activations,
    class_metrics,
    convolution,
    datasets,
    from_run,
    inits,
    layers,
    losses,
    metrics,
    models,
    muon,
    normalization,
    optimizers,
    pooling,
    preprocessing,
    probability_metrics,
    regularizers,
    residual,
    samplers,
    schedules,
)

__all__ = [
    "activations",
    "class_metrics",
    "convolution",
    "datasets",
    "from_run",
    "inits",
    "layers",
    "losses",
    "metrics",
    "models",
    "muon",
    "normalization",
    "optimizers",
    "pooling",
    "preprocessing",
    "probability_metrics",
    "regularizers",
    "residual",
    "samplers",
    "schedules",
]
