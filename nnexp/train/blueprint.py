"""What a network will be, known before torch is imported: its layers, shapes and layout."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnexp.components.from_run import FromRun
from nnexp.components.layer import Declared, Fit, Layer, Shape, flat
from nnexp.components.layout import Entry, Layout, unknown_layer
from nnexp.components.losses.loss import Loss
from nnexp.components.models.model import Model, Sequential
from nnexp.components.models.words import WordInput
from nnexp.components.preprocessing.columns import shown
from nnexp.config import augmenting, second_order
from nnexp.config.experiment import Experiment
from nnexp.errors import ConfigError, Problem
from nnexp.train.feed import batch_bounds


@dataclass(frozen=True)
class Signature:
    """What a network must fit: the shape of an example, classes or target columns, train rows.

    classes: the classes' names, () for targets that are none.
    positions: of a dense task the shape of where there is a class.
    codes: for each input column how many codes it has, 0 for plain numbers; () if all are plain.
    """

    inputs: Shape
    targets: int
    train_rows: int
    classes: tuple[str, ...] = ()
    positions: Shape = ()
    codes: tuple[int, ...] = ()


def build_layers(experiment: Experiment, signature: Signature, loss: Loss) -> list[Layer]:
    """The experiment's layers with the output's width filled in."""
    outputs, targets = loss.outputs(signature.targets), signature.targets
    fit = Fit(outputs, signature.codes, signature.positions, targets)
    try:
        layers = experiment.model.layers_for(signature.inputs, fit)
    except ValueError as error:
        raise _unfit(str(error)) from None
    return [layer.fitted(fit) for layer in flat(layers)]


def declare(layers: Sequence[Layer], inputs: Shape, places: Sequence[str] = ()) -> list[Declared]:
    """What each layer declares for examples of shape `inputs`. Raises ConfigError.

    places: where the config has the layers; none: all are the model's.
    """
    shape, skips, found = inputs, list[Shape](), list[Declared]()
    for index, layer in enumerate(layers):
        try:
            declared = layer.trace(shape, skips)
        except ValueError as error:
            place = places[index] if places else "model"
            raise _unfit(f"layer {index}, {layer.component}: {error}", place) from None
        found.append(declared)
        shape = declared.output
    return found


def lay_out(layers: Sequence[Layer], declared: Sequence[Declared]) -> tuple[Layout, Layout]:
    """Where the parameters lie in a member's flat row, and where its buffers."""
    entries: dict[bool, list[Entry]] = {False: [], True: []}
    sizes = {False: 0, True: 0}
    weighted = [i for i, d in enumerate(declared) if any(s.role == "weight" for s in d.slots)]
    among = set(weighted)
    for index, (layer, one) in enumerate(zip(layers, declared, strict=True)):
        aliases = [str(index), layer.component, f"{index}.{layer.component}"]
        if index in among:
            aliases += ["first"] if index == weighted[0] else []
            aliases += ["output"] if index == weighted[-1] else ["hidden"]
        for slot in one.slots:
            kind = slot.role == "buffer"
            start, stop = sizes[kind], sizes[kind] + math.prod(slot.shape)
            name = f"{index}.{layer.component}.{slot.name}"
            entries[kind].append(Entry(name, index, slot, start, stop, (*aliases, name)))
            sizes[kind] = stop
    return Layout(tuple(entries[False]), sizes[False]), Layout(tuple(entries[True]), sizes[True])


def check_model(experiment: Experiment, signature: Signature) -> None:
    """Whether the model fits the data, and every layer that the config names is there.

    Told before torch is imported. Raises ConfigError, and ValueError if the loss does not suit.
    """
    loss = experiment.loss
    assert loss is not None
    layers = build_layers(experiment, signature, loss)
    outputs = loss.outputs(signature.targets)
    if (experiment.task == "words") != isinstance(layers[0], WordInput):
        if experiment.task == "words":
            raise _unfit("running text needs a model of word vectors: skip_gram or cbow")
        raise _unfit("skip_gram and cbow need running text: data.source corpus", "data.source")
    declared = declare(layers, signature.inputs, _places(experiment.model))
    if not any(one.slots for one in declared):
        raise _unfit("it has no layer with weights: there is nothing to train")
    needed, shape = (outputs, *signature.positions), declared[-1].output
    if shape != needed:
        raise _unfit(f"its last layer gives {shape} an example; the task needs {needed}")
    layout, _ = lay_out(layers, declared)
    named: dict[str, Mapping[str, Any]] = {
        "optimizer": experiment.optimizer.layers,
        "initialization": experiment.initialization.layers,
    }
    named |= {f"regularization.{k}": v.layers for k, v in experiment.regularization.items()}
    unknown = {f"{path}.layers": unknown_layer(layout, layers) for path, layers in named.items()}
    still = dict.fromkeys(experiment.initialization.frozen)
    unknown["initialization.freeze"] = unknown_layer(layout, still)
    problems = [Problem("", path, why) for path, why in unknown.items() if why]
    problems += second_order.with_model(experiment, layers, layout.size)
    problems += augmenting.with_model(
        experiment, signature.inputs, signature.positions, signature.codes, layers
    )
    if problems:
        raise ConfigError(problems)


def start_notes(experiment: Experiment, signature: Signature) -> list[str]:
    """What starts from stored tensors, if any were; whether batches are small for the optimizer.

    Raises DataError if they can't be read, ConfigError if none fits.
    """
    start, loss = experiment.initialization, experiment.loss
    if loss is None or not (isinstance(start, FromRun) or experiment.optimizer.curved):
        return []
    layers = build_layers(experiment, signature, loss)
    layout, buffers = lay_out(layers, declare(layers, signature.inputs))
    few = second_order.small_batch(experiment, signature.train_rows, layout.size)
    if not isinstance(start, FromRun):
        return few
    names: dict[bool, list[str]] = {True: [], False: []}
    for entry in (*layout.entries, *buffers.entries):
        names[start.stored(entry.name, entry.slot.shape) is not None].append(entry.name)
    if not names[True]:
        has = shown([f"{name} {tensor.shape}" for name, tensor in start.tensors().items()])
        why = f"none of the run's tensors fits this model (it has {has})"
        raise ConfigError([Problem("", "initialization.path", why)])
    new = f"; new: {shown(names[False], 10)}" if names[False] else ""
    return [*few, f"from_run: loaded {shown(names[True], 10)}{new}"]


def pack_key(experiment: Experiment, signature: Signature) -> str:
    """Experiments with equal keys can train in one pack."""
    assert experiment.loss is not None
    training = experiment.training
    agreed = {
        "layers": [x.pack_key() for x in build_layers(experiment, signature, experiment.loss)],
        "loss": experiment.loss.pack_key(),
        "regularization": {k: v.pack_key() for k, v in experiment.regularization.items()},
        "optimizer": experiment.optimizer.pack_key(),
        "sampler": experiment.sampler.pack_key(),
        "augmentation": [a.pack_key() for a in experiment.augmentation],
        "test_time": experiment.test_time and experiment.test_time.pack_key(),
        "frozen": experiment.initialization.frozen,
        "training": training.pack_key(),
        "clip": [training.clip_grad_norm is None, training.clip_grad_value is None],
        "metrics": [m.pack_key() for m in experiment.metrics or ()],
        "signature": [
            signature.inputs,
            signature.targets,
            signature.train_rows,
            signature.positions,
            signature.codes,
        ],
    }
    return json.dumps(agreed, sort_keys=True)


def steps_an_epoch(experiment: Experiment, signature: Signature) -> int:
    """How many updates an epoch of a resolved experiment has."""
    assert experiment.loss is not None
    rows, size = signature.train_rows, experiment.training.batch_size
    batch = rows if size == "full" else min(int(size), rows)
    layers = declare(build_layers(experiment, signature, experiment.loss), signature.inputs)
    has_statistics = any(slot.role == "buffer" for layer in layers for slot in layer.slots)
    return len(batch_bounds(experiment.sampler.draws(rows, batch), batch, has_statistics))


def member_bytes(numbers: int, units: int, batch: int, bits: int) -> int:
    """Memory that training a member takes, estimated from above.

    numbers: of its parameters and buffers; units: of all layers' outputs for one example.
    """
    return bits // 8 * (COPIES * numbers + 2 * batch * units)


COPIES = 6
"""Parameter-sized tensors of a member: its own, the best, the gradient twice, optimizer's two."""


def footprint(experiment: Experiment, signature: Signature) -> int:
    """Memory in bytes that training a member of the experiment takes, estimated from above."""
    assert experiment.loss is not None
    layers = build_layers(experiment, signature, experiment.loss)
    declared = declare(layers, signature.inputs)
    numbers = sum(math.prod(slot.shape) for one in declared for slot in one.slots)
    units = math.prod(signature.inputs) + sum(math.prod(one.output) for one in declared)
    size, rows = experiment.training.batch_size, signature.train_rows
    bits = 64 if experiment.training.precision == "float64" else 32
    return member_bytes(numbers, units, rows if size == "full" else min(size, rows), bits)


def _unfit(message: str, path: str = "model") -> ConfigError:
    return ConfigError([Problem("", path, message)])


def _places(model: Model) -> list[str]:
    """Where the config lists each layer; nothing if it does not list them."""
    listed = enumerate(model.layers if isinstance(model, Sequential) else ())
    return [f"model.layers.{number}" for number, layer in listed for _ in flat([layer])]
