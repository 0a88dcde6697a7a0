"""Augmentation in training, and many passes at evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import log_softmax, softmax

from nnexp.components.augmentations import warp
from nnexp.components.augmentations.base import Chance
from nnexp.components.layer import Context
from nnexp.components.layers.activations import Relu
from nnexp.components.losses.loss import Loss
from nnexp.config import augmenting, rules
from nnexp.config.experiment import TestTime
from nnexp.errors import ConfigError
from nnexp.train import augment, evaluate, passes
from nnexp.train.blueprint import Signature, check_model, pack_key
from nnexp.train.loop import Hooks, train
from nnexp.train.program import Program

IMAGE = (2, 8, 10)
LAYERS = [Relu()]
AFFINE: list[Any] = ["rotate", {"name": "shear", "p": 0.5}, {"name": "translate", "share": 0.2}]
ALL: list[Any] = [
    *AFFINE,
    {"name": "scale", "p": 0.5},
    {"name": "resize", "low": 7, "high": 11},
    {"name": "crop", "padding": 1},
    "flip",
    {"name": "elastic", "alpha": 10.0, "sigma": 2.0, "p": 0.7},
    "contrast",
    "brightness",
    "noise",
    {"name": "erase", "low": 0.1},
]
DROPOUT = {"name": "mlp", "hidden": [12], "dropout": 0.4, "batch_norm": True}


def program(experiment: Any, seeds: list[int], shape: Any = IMAGE, **keys: Any) -> Program:
    members = [experiment(seed=seed, **keys) for seed in seeds]
    return Program(members, Signature(shape, 3, 50, ("a", "b", "c")), torch.device("cpu"))


def batch(members: int, rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """The same examples for every member, as a pack that shares its split has them."""
    random = np.random.default_rng(0)
    x = torch.tensor(random.standard_normal((1, rows, *IMAGE)))
    y = torch.tensor(random.integers(0, 3, (1, rows)))
    return x.expand(members, *x.shape[1:]), y.expand(members, rows)


# -- training --------------------------------------------------------------------------------------


def test_a_members_changes_are_its_own_whatever_the_pack(experiment: Any) -> None:
    x, y = batch(3)
    together, target = program(experiment, [4, 7, 9], augmentation=ALL).augmenter.transform(x, y, 5)
    assert target is y
    for number, seed in enumerate((4, 7, 9)):
        alone = program(experiment, [seed], augmentation=ALL).augmenter
        found, _ = alone.transform(x[:1], y[:1], 5)
        assert torch.equal(found[0], together[number])
        late, _ = alone.transform(x[:1, 2:], y[:1, 2:], 5, first=2)  # a slice of the batch
        torch.testing.assert_close(late[0], together[number, 2:], rtol=0, atol=1e-12)
        assert not torch.equal(alone.transform(x[:1], y[:1], 6)[0], found)
    assert not torch.equal(together[0], together[1])
    assert torch.equal(x, batch(3)[0])


def test_members_may_differ_in_strength(experiment: Any) -> None:
    def member(seed: int) -> Any:
        listed = [
            {"name": "rotate", "degrees": 10.0 * seed, "p": 0.3 * seed},
            {"name": "elastic", "alpha": 5.0 * seed},
            {"name": "noise", "std": 0.1 * seed},
        ]
        return experiment(seed=seed, augmentation=listed)

    x, y = batch(3)
    signature = Signature(IMAGE, 3, 50, ("a", "b", "c"))
    assert len({pack_key(member(seed), signature) for seed in (1, 2, 3)}) == 1
    assert pack_key(member(1), signature) != pack_key(experiment(), signature)
    cpu = torch.device("cpu")
    together = Program([member(s) for s in (1, 2, 3)], signature, cpu).augmenter.transform(x, y, 0)
    for seed in (1, 2, 3):
        alone = Program([member(seed)], signature, cpu).augmenter.transform(x[:1], y[:1], 0)
        torch.testing.assert_close(alone[0][0], together[0][seed - 1], rtol=0, atol=1e-12)


def test_all_that_moves_is_one_resampling_of_the_composed_map(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [*AFFINE, {"name": "elastic", "alpha": 12.0, "sigma": 1.5}, "flip"]
    made = program(experiment, [3], augmentation=listed)
    calls, whole = [], warp.resample

    def counted(*given: Any) -> torch.Tensor:
        calls.append(given)
        return whole(*given)

    monkeypatch.setattr(warp, "resample", counted)
    x, y = batch(1)
    found, _ = made.augmenter.transform(x, y, 2)
    assert len(calls) == 1
    expected = _one_by_one(made, x)
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-9)


def _one_by_one(made: Program, x: torch.Tensor) -> np.ndarray:
    """Each pixel followed back through every map in its turn, then read once by scipy."""
    height, width = IMAGE[1:]
    row, column = np.mgrid[:height, :width].astype(float)
    expected = np.empty(x.shape)
    for n in range(x.shape[1]):
        at = np.stack([column - (width - 1) / 2, row - (height - 1) / 2])
        steps = []
        for number, (spec, hyper) in enumerate(made.augmenter.specs):
            chance = Chance(made.augmenter.members, 2, number, x.shape[1])
            happens = chance.happens(spec.p)
            if happens is not None and not happens[0, n]:
                continue
            field = spec.field(hyper, chance, (height, width), x.dtype)  # type: ignore[attr-defined]
            if field is not None:
                at = at + np.asarray(field[0, n])
            matrix = spec.matrix(hyper, chance, (height, width))  # type: ignore[attr-defined]
            if matrix is not None:
                steps.append(np.asarray(matrix[0, n]))
        for matrix in reversed(steps):  # the last change is undone first
            at = np.einsum("ij,jhw->ihw", matrix[:, :2], at) + matrix[:, 2][:, None, None]
        where = [at[1] + (height - 1) / 2, at[0] + (width - 1) / 2]
        for c in range(IMAGE[0]):
            expected[0, n, c] = ndimage.map_coordinates(
                np.asarray(x[0, n, c]), where, order=1, mode="nearest"
            )
    return expected


def test_a_class_at_every_pixel_moves_with_it(experiment: Any) -> None:
    """Each class has one colour: after the nearest pixel is taken, it still has."""
    random = np.random.default_rng(1)
    y = torch.tensor(random.integers(0, 2, (2, 4, 2, 2))).repeat_interleave(4, 2)
    y = y.repeat_interleave(5, 3)  # patches of 4 × 5 pixels
    x = y[:, :, None].double().expand(2, 4, *IMAGE).contiguous()
    listed = [*AFFINE, {"name": "elastic", "alpha": 5.0}, {"name": "noise", "std": 0.01}]
    made = program(experiment, [1, 2], augmentation=listed)
    moved, classes = made.augmenter.transform(x, y, 0)
    assert classes.dtype == y.dtype
    assert set(classes.flatten().tolist()) == {-1, 0, 1}
    there = classes >= 0
    apart = (moved[:, :, 0] - classes).abs()[there]
    assert float(apart.max()) < 0.75 + 0.05  # of four pixels the nearest weighs a quarter or more
    assert float((apart < 0.1).double().mean()) > 0.5
    only_values = program(experiment, [1], augmentation=["noise"]).augmenter
    assert only_values.transform(x[:1], y[:1], 0)[1] is not None
    assert torch.equal(only_values.transform(x[:1], y[:1], 0)[1], y[:1])


def test_training_sees_changed_examples_and_evaluation_does_not(experiment: Any, pack: Any) -> None:
    histories = []
    for listed in ([], [{"name": "noise", "std": 0.5}]):
        one = pack([experiment(augmentation=listed, optimizer={"name": "sgd", "lr": 1e-9})])
        now = one.start()
        train(one, now, Hooks())
        histories.append(now.members[0].history[-1])
    assert histories[0]["train/step_loss"] != pytest.approx(histories[1]["train/step_loss"], 1e-6)
    assert histories[0]["dev/loss"] == pytest.approx(histories[1]["dev/loss"], 1e-6)


# -- evaluation ------------------------------------------------------------------------------------


def asking(**fields: Any) -> dict[str, Any]:
    return {"test_time": fields}


def raw(made: Any, x: torch.Tensor, tensors: Any) -> np.ndarray:
    """The network's outputs for some examples, without any view."""
    one = made.program([0])
    params, buffers = (
        layout.views(tensors[name])
        for layout, name in ((one.layout, "params"), (one.buffer_layout, "buffers"))
    )
    with torch.inference_mode():
        out = one.forward(params, buffers, x, Context(training=False))
    return np.asarray(out[0])


def test_views_are_averaged_as_probabilities(experiment: Any, pack: Any) -> None:
    asked = {"angles": [-90.0, 0.0, 90.0, 180.0], "flip": True}
    shape = (2, 8, 8)
    made = pack([experiment(**asking(**asked))], shape)
    tensors = made.start().tensors
    rows = made.feed.rows("dev", [0])
    x = made.feed.inputs[rows]
    out, y, losses = evaluate.outputs(made.program([0]), tensors, made.feed, rows)
    seen = []
    for quarters in range(4):
        turned = torch.rot90(x, quarters, (3, 4))
        seen += [raw(made, turned, tensors), raw(made, turned.flip(4), tensors)]
    chances = softmax(np.array(seen), -1)
    np.testing.assert_allclose(softmax(np.asarray(out[0]), -1), chances.mean(0), atol=1e-10)
    target = np.asarray(y[0])
    right = -log_softmax(np.log(chances.mean(0)), -1)[np.arange(len(target)), target]
    np.testing.assert_allclose(np.asarray(losses[0]), right, atol=1e-10)
    spread = evaluate.spread(made.program([0]), tensors, made.feed, rows)
    assert spread is not None
    np.testing.assert_allclose(np.asarray(spread[0]), chances.std(0, ddof=1), atol=1e-10)


def test_nothing_asked_is_one_plain_pass(experiment: Any, pack: Any) -> None:
    plain, asked = (pack([experiment(**keys)], IMAGE) for keys in ({}, asking()))
    tensors, rows = plain.start().tensors, plain.feed.rows("dev", [0])
    one = evaluate.outputs(plain.program([0]), tensors, plain.feed, rows)
    other = evaluate.outputs(asked.program([0]), tensors, asked.feed, rows)
    assert torch.equal(one[0], torch.as_tensor(raw(plain, plain.feed.inputs[rows], tensors))[None])
    torch.testing.assert_close(one[0].softmax(-1), other[0].softmax(-1), rtol=0, atol=1e-12)
    assert evaluate.spread(asked.program([0]), tensors, asked.feed, rows) is None
    assert evaluate.spread(plain.program([0]), tensors, plain.feed, rows) is None


def test_each_epochs_metrics_are_of_one_pass(experiment: Any, pack: Any) -> None:
    rows = []
    for keys in ({}, asking(mc_dropout=3)):
        one = pack([experiment(model=DROPOUT, **keys)])
        now = one.start()
        train(one, now, Hooks())
        rows.append(now.members[0].history)
    assert rows[0] == rows[1]


def test_samples_of_dropout(experiment: Any, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = pack([experiment(seed=s, model=DROPOUT, **asking(mc_dropout=400)) for s in (0, 1)])
    tensors, rows = made.start().tensors, made.feed.rows("dev", [0, 1])
    one = made.program([0, 1])
    before = tensors["buffers"].clone()
    out, _, _ = evaluate.outputs(one, tensors, made.feed, rows)
    spread = evaluate.spread(one, tensors, made.feed, rows)
    assert spread is not None
    assert float(spread.min()) > 0
    assert torch.equal(tensors["buffers"], before)  # batch normalization was in evaluation
    assert torch.equal(out, evaluate.outputs(one, tensors, made.feed, rows)[0])
    alone = {name: tensor[1:] for name, tensor in tensors.items()}
    here = evaluate.outputs(made.program([1]), alone, made.feed, rows)[0]
    torch.testing.assert_close(here[0], out[1], rtol=0, atol=1e-12)
    monkeypatch.setattr(evaluate, "CHUNK", 100)  # a few examples at a time
    torch.testing.assert_close(
        evaluate.outputs(one, tensors, made.feed, rows)[0], out, rtol=0, atol=1e-12
    )
    # one hidden layer is linear in its mask: the mean over samples of outputs is the plain pass
    plain = pack([experiment(seed=0, model=DROPOUT)])
    out0 = raw(plain, plain.feed.inputs[rows], tensors={k: t[:1] for k, t in tensors.items()})
    asked = TestTime(mc_dropout=400)
    params = one.layout.views(tensors["params"])
    buffers = one.buffer_layout.views(tensors["buffers"])
    x = made.feed.gather(rows, 2)[0]
    with torch.inference_mode():
        seen = list(passes._each(one, params, buffers, x, 0, asked))
    mean = torch.stack(seen).mean(0)[0]
    error = torch.stack(seen).std(0)[0] / 20
    assert float(((mean - torch.as_tensor(out0)) / error).abs().max()) < 5


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "multilabel_bce"])
def test_outputs_that_mean_the_average(name: str) -> None:
    loss = Loss.registered[name]()
    assert isinstance(loss, Loss)
    count = 1 if name == "binary_cross_entropy" else 3
    random = torch.tensor(np.random.default_rng(0).normal(0, 3, (5, 2, 7, count)))
    chances = loss.probabilities(random.flatten(0, 1))
    assert chances is not None
    mean = chances.view(5, 2, 7, -1).mean(0)
    found = passes.outputs_meaning(loss, mean, count)
    assert found is not None
    assert found.shape == (2, 7, count)
    torch.testing.assert_close(loss.probabilities(found), mean, rtol=0, atol=1e-9)


def test_views_of_other_sizes() -> None:
    """Five crops of an image twice as large: its corners, magnified, and its middle."""
    asked = TestTime(sizes=[16], crops=5)
    found = augment.views(asked, (8, 8))
    centre = [tuple(float(v) for v in m[:, 2]) for m in found]
    assert centre == [(0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)]
    assert all(torch.equal(m[:, :2], 0.5 * torch.eye(2).double()) for m in found)
    every = TestTime(angles=[-15.0, 0.0, 15.0], sizes=[8, 12], flip=True, mc_dropout=4)
    assert len(augment.views(every, (8, 8))) == 12
    assert every.passes == 48


# -- what is refused -------------------------------------------------------------------------------


def told(experiment: Any, shape: tuple[int, ...], **keys: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_model(experiment(**keys), Signature(shape, 3, 50, ("a", "b", "c")))
    return str(caught.value)


def test_images_are_needed(experiment: Any) -> None:
    found = told(experiment, (6,), augmentation=["noise", "rotate", "contrast"])
    assert "rotate needs images, of shape (channels, height, width)" in found
    assert "contrast needs images" in found
    assert "noise needs" not in found
    assert "views need images" in told(experiment, (6,), **asking(flip=True))


def test_test_time_needs_what_it_asks_for(experiment: Any) -> None:
    assert "no dropout layer" in told(experiment, (6,), **asking(mc_dropout=5))
    found = told(experiment, IMAGE, **asking(sizes=[8, 12], crops=5))
    assert "more than the image's own 8 pixels" in found


@pytest.mark.parametrize(
    ("keys", "path", "why"),
    [
        (
            {"augmentation": ["rotate", {"name": "shear", "border": "zeros"}]},
            "augmentation.1.border",
            "one resampling",
        ),
        (
            {"augmentation": [{"name": "scale", "low": 2.0}]},
            "augmentation.0",
            "low 2 is above high 1.1",
        ),
        ({"test_time": {"crops": 5}}, "test_time.crops", "no corners"),
    ],
)
def test_contradictions(experiment: Any, keys: dict[str, Any], path: str, why: str) -> None:
    (problem,) = augmenting.without_data(experiment(**keys))
    assert problem.path == path
    assert why in problem.message
    assert problem in rules.without_data(experiment(**keys))


def test_classes_elsewhere_than_the_pixels_are_refused(experiment: Any) -> None:
    one = experiment(augmentation=["rotate", "noise"])
    (problem,) = augmenting.with_model(one, IMAGE, (4, 4), (), LAYERS)
    assert "(4, 4)" in problem.message
    assert not list(augmenting.with_model(one, IMAGE, (8, 10), (), LAYERS))
    (problem,) = augmenting.with_model(experiment(**asking(flip=True)), IMAGE, (8, 10), (), LAYERS)
    assert "can't be averaged" in problem.message


def test_codes_take_no_noise(experiment: Any) -> None:
    one = experiment(augmentation=["noise"])
    (problem,) = augmenting.with_model(one, (3,), (), (0, 4, 0), LAYERS)
    assert "the inputs are codes" in problem.message
    one = experiment(data={"source": "digits", "corruption": {"mask": 0.5}})
    (problem,) = augmenting.with_model(one, (3,), (), (0, 4, 0), LAYERS)
    assert problem.path == "data.corruption"
    assert not list(augmenting.with_model(one, (3,), (), (0, 0, 0), LAYERS))
