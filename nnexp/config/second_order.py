"""What does not go together with optimizers that judge their steps by the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnexp.components.layer import Layer
from nnexp.components.layers.activations import NoisyRelu
from nnexp.components.layers.basic import Dropout
from nnexp.components.layers.normalization import BatchNorm
from nnexp.components.regularizers import L2, Regularizer
from nnexp.components.samplers import Uniform
from nnexp.config.experiment import Experiment
from nnexp.errors import Problem


def without_data(experiment: Experiment) -> Iterator[Problem]:
    """What would change the loss, the gradient or the parameters behind the optimizer's back."""
    optimizer, training = experiment.optimizer, experiment.training
    name = optimizer.component
    if not optimizer.judges:
        return
    if optimizer.full_batch and training.batch_size != "full":
        why = f"{name} needs every training example at each update"
        yield Problem("", "training.batch_size", why, training.batch_size, "full")
    sampler = experiment.sampler
    if optimizer.full_batch and not (isinstance(sampler, Uniform) and not sampler.replacement):
        why = f"{name} needs the same examples at each update"
        yield Problem("", "sampler", why, sampler.component, "uniform, without replacement")
    for key in ("clip_grad_norm", "clip_grad_value"):
        if (bound := getattr(training, key)) is not None:
            why = f"{name} chooses the lengths of its steps itself, by the true gradient"
            yield Problem("", f"training.{key}", why, bound, "null")
    if training.precision == "bf16":
        why = f"{name} compares losses more closely than bf16 can tell them apart"
        yield Problem("", "training.precision", why, "bf16", "float32, float64")
    if any(factor not in (0.0, 1.0) for factor in optimizer.layers.values()):
        why = f"{name} finds each parameter's step itself; a layer can only be left as it is"
        yield Problem("", "optimizer.layers", why, optimizer.layers, "factors 0 and 1")
    if optimizer.rate_rule != "equal":
        why = f"{name} finds each parameter's step itself"
        yield Problem("", "optimizer.rate_rule", why, optimizer.rate_rule, "equal")
    yield from _penalties(experiment)
    loss = experiment.loss
    if loss is not None and optimizer.curved and loss.component not in optimizer.curved:
        why = f"{name} needs a loss whose curvature it knows"
        yield Problem("", "loss", why, loss.component, ", ".join(sorted(optimizer.curved)))


def _penalties(experiment: Experiment) -> Iterator[Problem]:
    """Only penalties with a slope everywhere, and for Gauss–Newton with a known curvature."""
    optimizer = experiment.optimizer
    for key, spec in experiment.regularization.items():
        cls = type(spec)
        aside = (
            cls.before_update is not Regularizer.before_update
            or cls.after_update is not Regularizer.after_update
        )
        if spec.coefficient != 0 and (aside or (optimizer.curved and not isinstance(spec, L2))):
            why = f"{optimizer.component} can't minimize it together with the loss"
            yield Problem("", f"regularization.{key}", why, spec.coefficient, "l2, or 0")


def small_batch(experiment: Experiment, rows: int, parameters: int) -> list[str]:
    """A note if the smallest batch says less than a step by the curvature needs."""
    size = experiment.training.batch_size
    least = rows if size == "full" or size >= rows else rows % size or size
    if not experiment.optimizer.curved or least >= parameters:
        return []
    return [
        f"{experiment.optimizer.component}: a batch of {least:,} examples for {parameters:,} "
        "parameters: each step fits its batch alone; larger batches, or `batch_size: full`, are "
        "safer"
    ]


def with_model(
    experiment: Experiment, layers: Sequence[Layer], parameters: int
) -> Iterator[Problem]:
    """What in a model does not suit the optimizer."""
    optimizer = experiment.optimizer
    name, most = optimizer.component, optimizer.most_parameters
    if most is not None and parameters > most:
        why = f"{name} is for models of at most {most:,} parameters; this one has {parameters:,}"
        yield Problem("", "optimizer", why, name, hint="lbfgs has no such bound")
    if not optimizer.judges:
        return
    task = experiment.task
    if task == "words" or (task == "dense" and optimizer.curved):
        yield Problem("", "optimizer", f"{name} is not for the task {task}", name)
    for number, layer in enumerate(layers):
        noisy = isinstance(layer, NoisyRelu) or (isinstance(layer, Dropout) and layer.rate > 0)
        if noisy:
            why = f"{name} needs a loss without noise; layer {number} is {layer.component}"
            yield Problem("", "model", why)
        if optimizer.curved and isinstance(layer, BatchNorm):
            why = f"{name} needs outputs that depend on one example each; layer {number}"
            yield Problem("", "model", f"{why} is {layer.component}", hint="layer_norm is possible")
