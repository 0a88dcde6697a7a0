"""Where augmentation, corruption, and views at test time can't work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnexp.components.augmentations.geometric import Geometric
from nnexp.components.layer import Layer, Shape
from nnexp.components.layers.basic import Dropout
from nnexp.config.experiment import Experiment, TestTime
from nnexp.errors import Problem


def without_data(experiment: Experiment) -> Iterator[Problem]:
    """Fields that contradict each other."""
    if experiment.augmentation and experiment.optimizer.full_batch:
        why = f"{experiment.optimizer.component} needs the same examples at each update"
        yield Problem("", "augmentation", why, allowed="[]")
    borders = set()
    for number, spec in enumerate(experiment.augmentation):
        path = f"augmentation.{number}"
        if why := spec.conflict():
            yield Problem("", path, why)
        if isinstance(spec, Geometric):
            borders.add(spec.border)
            if len(borders) > 1:
                why = "differs from an earlier one: all that move pixels are one resampling"
                yield Problem("", f"{path}.border", why, spec.border)
                break
    asked = experiment.test_time
    if asked is not None and asked.crops == 5 and not asked.sizes:
        why = "there are no corners to cut from an image of its own size"
        yield Problem("", "test_time.crops", why, 5, hint="give `sizes` above the image's height")


def with_model(
    experiment: Experiment,
    inputs: Shape,
    positions: Shape,
    codes: Sequence[int],
    layers: Sequence[Layer],
) -> Iterator[Problem]:
    """What does not suit examples of shape `inputs`, or the model's layers.

    positions: where a dense task has classes. codes: how many codes each column holds, 0 for none.
    """
    shown = f"examples of shape {inputs}"
    images = len(inputs) == 3 and not any(codes) and experiment.task != "words"
    coded = any(codes) or experiment.task == "words" or layers[0].takes_codes
    if experiment.data.corruption is not None and coded:
        yield Problem("", "data.corruption", "changes numbers, and there are inputs that are codes")
    for number, spec in enumerate(experiment.augmentation):
        path, name = f"augmentation.{number}", spec.component
        if spec.images_only and not images:
            why = f"{name} needs images, of shape (channels, height, width); there are {shown}"
            yield Problem("", path, why)
        elif coded:
            yield Problem("", path, f"{name} changes numbers, and the inputs are codes")
        elif isinstance(spec, Geometric) and positions and positions != inputs[1:]:
            why = f"{name} moves pixels, and the classes' positions {positions} are none"
            yield Problem("", path, why)
    if experiment.test_time is not None:
        yield from _test_time(experiment.test_time, inputs, positions, images, layers)


def _test_time(
    asked: TestTime, inputs: Shape, positions: Shape, images: bool, layers: Sequence[Layer]
) -> Iterator[Problem]:
    if asked.moves and not images:
        why = "views need images, of shape (channels, height, width); there are examples of shape "
        yield Problem(
            "",
            "test_time",
            f"{why}{inputs}",
            hint="mc_dropout (--mc-dropout of eval) works without",
        )
    elif asked.moves and positions:
        why = "views of an image have their classes elsewhere: they can't be averaged"
        yield Problem("", "test_time", why, hint="mc_dropout works with a class at every position")
    elif asked.crops == 5 and min(asked.sizes) <= inputs[1]:
        why = f"corners can only be cut from more than the image's own {inputs[1]} pixels"
        yield Problem("", "test_time.sizes", why, min(asked.sizes), f"> {inputs[1]}")
    if asked.mc_dropout and not any(isinstance(layer, Dropout) for layer in layers):
        why = "the model has no dropout layer to sample"
        yield Problem("", "test_time.mc_dropout", why, asked.mc_dropout, "0")
