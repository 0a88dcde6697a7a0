"""Every loss: torch's values, gradients by two-sided differences, and its conventions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from nnexp.components.losses.classes import BinaryCrossEntropy, CrossEntropy, Hinge, SquaredHinge
from nnexp.components.losses.labels import MultilabelBce, MultilabelHinge
from nnexp.components.losses.loss import Loss
from nnexp.components.losses.values import Huber, L1Loss, L2Distance, Mse

M, B, K = 3, 7, 5  # members, examples, outputs

Values = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

REFERENCES: dict[str, Values] = {  # of one member's [B, K] and its targets
    "cross_entropy": lambda a, y: functional.cross_entropy(a, y, reduction="none"),
    "binary_cross_entropy": lambda a, y: functional.binary_cross_entropy(
        torch.sigmoid(a[:, 0]), y.to(a.dtype), reduction="none"
    ),
    "mse": lambda a, y: 0.5 * a.shape[1] * functional.mse_loss(a, y, reduction="none").mean(1),
    "hinge": lambda a, y: a.shape[1] * functional.multi_margin_loss(a, y, reduction="none"),
    "squared_hinge": lambda a, y: (
        a.shape[1] * functional.multi_margin_loss(a, y, p=2, reduction="none")
    ),
    "l1": lambda a, y: functional.l1_loss(a, y, reduction="none").sum(1),
    "huber": lambda a, y: functional.huber_loss(a, y, reduction="none").sum(1),
    "l2_distance": lambda a, y: torch.linalg.vector_norm(a - y, dim=1),
    "multilabel_bce": lambda a, y: (
        a.shape[1] * functional.multilabel_soft_margin_loss(a, y, reduction="none")
    ),
    "multilabel_hinge": lambda a, y: (
        functional.hinge_embedding_loss(torch.where(y > 0, 1 - a, -a), 2 * y - 1, reduction="none")
        .where(y < 1, (1 - a).clamp(min=0))
        .sum(1)
    ),
}
"""torch's loss of each example."""


def outputs_of(loss: Loss) -> int:
    return 1 if isinstance(loss, BinaryCrossEntropy) else K


def batch(loss: Loss, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random outputs `[M, B, K]` and targets, in float64."""
    draw = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(M, B, outputs_of(loss), generator=draw, dtype=torch.float64)
    if "regression" in loss.tasks:
        return outputs, torch.randn(M, B, K, generator=draw, dtype=torch.float64)
    if "multilabel" in loss.tasks:
        return outputs, torch.randint(2, (M, B, K), generator=draw).double()
    classes = 2 if outputs_of(loss) == 1 else K
    return outputs, torch.randint(classes, (M, B), generator=draw)


ELSEWHERE = {"hierarchical_softmax", "negative_sampling"}
"""test_tree_losses.py; test_words.py, as it is of pairs of words only"""
Every = pytest.mark.parametrize(
    "loss",
    [cls() for name, cls in Loss.registered.items() if name not in ELSEWHERE],
    ids=[name for name in Loss.registered if name not in ELSEWHERE],
)


def test_every_loss_has_a_reference() -> None:
    assert set(REFERENCES) | ELSEWHERE == set(Loss.registered)


@Every
def test_values_are_torchs(loss: Loss) -> None:
    outputs, target = batch(loss)
    found = loss.per_example(outputs, target)
    assert found.shape == (M, B)
    assert found.dtype is torch.float64
    for member in range(M):
        expected = REFERENCES[loss.component](outputs[member], target[member])
        torch.testing.assert_close(found[member], expected, rtol=1e-12, atol=1e-13)


@Every
def test_members_do_not_mix(loss: Loss) -> None:
    outputs, target = batch(loss)
    whole = loss.per_example(outputs, target)
    for member in range(M):
        pick = slice(member, member + 1)
        alone = loss.per_example(outputs[pick], target[pick])
        torch.testing.assert_close(whole[pick], alone, rtol=1e-13, atol=0)


@Every
def test_gradients_are_two_sided_differences(loss: Loss) -> None:
    outputs, target = batch(loss, seed=3)
    right = outputs.detach()
    if isinstance(loss, Hinge | SquaredHinge):  # no kink within ε
        margins = right - right.gather(-1, target[..., None]) + 1
        assert margins[margins != 1].abs().min() > 1e-3
    if isinstance(loss, MultilabelHinge):
        assert (1 - (2 * target - 1) * right).abs().min() > 1e-3
    if isinstance(loss, L1Loss | Huber):
        apart = (right - target).abs()
        assert min(apart.min(), (apart - 1).abs().min()) > 1e-4
    leaf = outputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss.per_example(leaf, target).sum(), leaf)
    eps, expected = 1e-5, torch.empty_like(right)
    for place in range(right[0, 0].numel()):
        shift = torch.zeros_like(right)
        shift[..., place] = eps
        up, down = (loss.per_example(right + s, target) for s in (shift, -shift))
        expected[..., place] = (up - down) / (2 * eps)
    closed = loss.gradient(outputs, target)
    torch.testing.assert_close(closed[0], loss.per_example(outputs, target), rtol=1e-14, atol=0)
    for gradient in (found, closed[1]):
        error = (gradient - expected).norm() / (gradient.norm() + expected.norm())
        assert error < 1e-9


@Every
@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_loss_is_finite_and_not_negative(loss: Loss, seed: int) -> None:
    outputs, target = batch(loss, seed)
    for scale in (0.0, 1.0, 1e4):
        values = loss.per_example((outputs * scale).float(), _like(target))
        assert values.isfinite().all()
        assert (values >= 0).all()


def _like(target: torch.Tensor) -> torch.Tensor:
    return target.float() if target.is_floating_point() else target


@Every
def test_members_of_another_precision(loss: Loss) -> None:
    outputs, target = batch(loss)
    losses, slope = loss.gradient(outputs.float(), _like(target))
    assert losses.dtype is slope.dtype is torch.float32
    assert slope.shape == outputs.shape


@pytest.mark.parametrize("loss", [CrossEntropy(), BinaryCrossEntropy(), Hinge()], ids=repr)
def test_extreme_outputs_do_not_overflow(loss: Loss) -> None:
    """A miss by a costs a (times the wrong classes above the right one); a hit costs nothing."""
    size = 2 if isinstance(loss, BinaryCrossEntropy) else 3
    for far in (1e3, 1e6, 1e30):
        outputs = torch.full((1, 2, outputs_of(loss) if size == 2 else size), -far)
        outputs[0, :, -1] = far
        target = torch.tensor([[size - 1, 0]])
        leaf = outputs.clone().requires_grad_()
        values = loss.per_example(leaf, target)
        miss = far if size == 2 else 2 * far
        assert values[0].tolist() == pytest.approx([0.0, miss], rel=2e-3)
        (grads,) = torch.autograd.grad(values.sum(), leaf)
        assert grads.isfinite().all()
        assert (grads[0, 0] == 0).all()


@Every
def test_chance_is_the_loss_of_outputs_that_are_zero(loss: Loss) -> None:
    targets = 2 if outputs_of(loss) == 1 else K
    chance = loss.chance(targets)
    if "regression" in loss.tasks:
        assert chance is None  # it depends on the data: half the variance
        return
    if "multilabel" in loss.tasks:
        for value in (0.0, 1.0):
            zeros = torch.zeros(1, 1, targets, dtype=torch.float64)
            found = float(loss.per_example(zeros, zeros + value))
            assert found == pytest.approx(chance, rel=1e-12)
        return
    for target in range(targets):
        zeros = torch.zeros(1, 1, loss.outputs(targets), dtype=torch.float64)
        found = float(loss.per_example(zeros, torch.tensor([[target]])))
        assert found == pytest.approx(chance, rel=1e-12)


@pytest.mark.parametrize("targets", [2, 3, 10, 1000])
def test_chance_by_name(targets: int) -> None:
    assert CrossEntropy().chance(targets) == pytest.approx(math.log(targets))
    assert Hinge().chance(targets) == SquaredHinge().chance(targets) == targets - 1
    assert MultilabelBce().chance(targets) == pytest.approx(targets * math.log(2))
    assert MultilabelHinge().chance(targets) == targets
    assert BinaryCrossEntropy().chance(2) == pytest.approx(math.log(2))


def test_the_first_loss_of_mse_is_half_the_variance() -> None:
    target = torch.randn(1, 1000, 4, dtype=torch.float64)
    target = target - target.mean(1, keepdim=True)
    found = Mse().per_example(torch.zeros_like(target), target).mean()
    variance = target.var(1, correction=0).sum()
    assert float(found) == pytest.approx(0.5 * float(variance), rel=1e-12)


@Every
def test_outputs(loss: Loss) -> None:
    if isinstance(loss, BinaryCrossEntropy):
        assert loss.outputs(2) == 1
        for targets in (1, 3, 10):
            with pytest.raises(ValueError, match=f"is for 2 classes; the data has {targets}"):
                loss.outputs(targets)
    else:
        assert loss.outputs(2) == 2
        assert loss.outputs(10) == 10


@Every
def test_decide(loss: Loss) -> None:
    """The prediction is the class with the smallest loss: hardmax of the outputs."""
    if "classification" not in loss.tasks:
        return
    outputs, _ = batch(loss)
    decided = loss.decide(outputs)
    assert decided.dtype is torch.int64
    classes = 2 if outputs_of(loss) == 1 else K
    losses = [loss.per_example(outputs, torch.full((M, B), c)) for c in range(classes)]
    assert torch.equal(decided, torch.stack(losses).argmin(0))


# -- several labels, far outputs, smoothing --------------------------------------------------------


@pytest.mark.parametrize("loss", [MultilabelBce(), MultilabelHinge()], ids=repr)
def test_a_label_is_predicted_where_that_costs_least(loss: Loss) -> None:
    outputs, _ = batch(loss)
    decided = loss.decide(outputs)
    assert decided.dtype is torch.int64
    assert decided.shape == outputs.shape
    best = loss.per_example(outputs, decided.double())
    for label in range(K):
        other = decided.clone()
        other[..., label] = 1 - other[..., label]
        assert (loss.per_example(outputs, other.double()) > best).all()
    assert loss.decide(torch.zeros(1, 1, 2)).tolist() == [[[0, 0]]]


def test_probabilities_of_labels() -> None:
    outputs, _ = batch(MultilabelBce())
    found = MultilabelBce().probabilities(outputs)
    torch.testing.assert_close(found, 1 / (1 + (-outputs).exp()))
    assert MultilabelHinge().probabilities(outputs) is None


@pytest.mark.parametrize("far", [1e3, 1e6, 1e30])
@pytest.mark.parametrize(
    ("loss", "cost"),
    [
        (MultilabelBce(), 2.0),
        (MultilabelHinge(), 2.0),
        (L1Loss(), 2.0),
        (L2Distance(), math.sqrt(2.0)),
        (Huber(delta=0.5), 1.0),
    ],
    ids=repr,
)
def test_far_outputs_do_not_overflow(loss: Loss, cost: float, far: float) -> None:
    outputs = torch.tensor([[[far, -far]]])
    target = torch.tensor([[[0.0, 1.0]]])
    losses, slope = loss.gradient(outputs, target)
    assert float(losses) == pytest.approx(cost * far, rel=3e-3)
    expected = [[cost / 2, -cost / 2]]
    torch.testing.assert_close(slope[0], torch.tensor(expected), rtol=1e-2, atol=0)


def test_a_distance_of_zero_has_gradient_zero() -> None:
    target = torch.randn(1, 3, 4, dtype=torch.float64)
    leaf = target.clone().requires_grad_()
    losses = L2Distance().per_example(leaf, target)
    (derived,) = torch.autograd.grad(losses.sum(), leaf)
    assert (losses == 0).all()
    assert (derived == 0).all()
    assert (L2Distance().gradient(target, target)[1] == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_is_torchs(smoothing: float) -> None:
    loss = CrossEntropy(label_smoothing=smoothing)
    outputs, target = batch(loss)
    leaf = outputs.clone().requires_grad_()
    expected = functional.cross_entropy(
        leaf.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=smoothing
    ).view(M, B)
    (slope,) = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(loss.per_example(outputs, target), expected.detach())
    losses, closed = loss.gradient(outputs, target)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(closed, slope)


@pytest.mark.parametrize("delta", [0.3, 2.5])
def test_delta_of_huber(delta: float) -> None:
    outputs, target = batch(Huber())
    expected = functional.huber_loss(outputs, target, reduction="none", delta=delta).sum(-1)
    losses, slope = Huber(delta=delta).gradient(outputs, target)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(slope, (outputs - target).clamp(-delta, delta))


def test_two_classes_of_squared_hinge_are_sklearns() -> None:
    """scikit-learn's binary form is max(0, 1 − s·f)², f the difference of the two outputs."""
    from sklearn.metrics import hinge_loss

    outputs = 2 * torch.randn(1, 50, 2, dtype=torch.float64)
    target = torch.randint(2, (1, 50))
    target[0, :2] = torch.tensor([0, 1])
    margin = (outputs[0, :, 1] - outputs[0, :, 0]).numpy()
    expected = hinge_loss(target[0].numpy(), margin)
    assert float(Hinge().per_example(outputs, target).mean()) == pytest.approx(expected)
    each = torch.relu(1 - (2 * target[0] - 1) * torch.tensor(margin)).square()
    torch.testing.assert_close(SquaredHinge().per_example(outputs, target)[0], each)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "cross_entropy", "label_smoothing": 1.0},
        {"name": "cross_entropy", "label_smoothing": -0.1},
        {"name": "huber", "delta": 0.0},
        {"name": "cross_entropy", "class_weights": {"a": -1.0}},
    ],
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Loss.registered[bad["name"]].model_validate(bad)


def test_a_tie_of_the_binary_output_is_class_zero() -> None:
    outputs = torch.tensor([[[0.0], [-1.0], [1e-9]]])
    assert BinaryCrossEntropy().decide(outputs).tolist() == [[0, 0, 1]]


# -- the documents' own numbers --------------------------------------------------------------------


def test_softmax_and_hardmax_of_the_documents_example() -> None:
    """softmax(5, 2, −1, 3) = (0.842, 0.042, 0.002, 0.114); hardmax is (1, 0, 0, 0)."""
    outputs = torch.tensor([5.0, 2.0, -1.0, 3.0], dtype=torch.float64).expand(1, 4, 4)
    probability = (-CrossEntropy().per_example(outputs, torch.arange(4)[None])).exp()[0]
    assert [round(p, 3) for p in probability.tolist()] == [0.842, 0.042, 0.002, 0.114]
    hard = functional.one_hot(CrossEntropy().decide(outputs)[0, 0], 4)
    assert hard.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("loss", [CrossEntropy(), BinaryCrossEntropy(), Hinge()], ids=repr)
def test_a_loss_is_lowest_when_right(loss: Loss) -> None:
    """One document has cross-entropy highest when right, and its binary form without the minus."""
    values = []
    for sureness in (-3.0, -1.0, 0.0, 1.0, 3.0):  # of class 1, which is right
        two = torch.tensor([[[0.0, sureness]]])
        outputs = two[..., 1:] if isinstance(loss, BinaryCrossEntropy) else two
        values.append(float(loss.per_example(outputs, torch.tensor([[1]]))))
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0] - 1
    assert min(values) >= 0


def test_two_outputs_of_softmax_are_one_of_the_sigmoid() -> None:
    logit = torch.randn(1, 9, 1, dtype=torch.float64)
    target = torch.randint(2, (1, 9))
    pair = torch.cat([torch.zeros_like(logit), logit], -1)
    torch.testing.assert_close(
        BinaryCrossEntropy().per_example(logit, target), CrossEntropy().per_example(pair, target)
    )


def test_a_margin_of_one_is_enough() -> None:
    outputs = torch.tensor([[[2.0, 1.0, 0.5], [2.0, 1.5, 0.0], [2.0, 3.0, 4.0]]])
    values = Hinge().per_example(outputs, torch.zeros(1, 3, dtype=torch.int64))
    assert values.tolist() == [[0.0, 0.5, 5.0]]


def test_mse_of_a_batch_by_hand() -> None:
    """½ Σ over outputs, mean over examples: 1/b (h(x) − y)²."""
    outputs = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    target = torch.tensor([[[0.0, 4.0], [1.0, 1.0]]])
    values: Any = Mse().per_example(outputs, target)
    assert values.tolist() == [[2.5, 1.0]]
    assert float(values.mean()) == 1.75


def test_a_subclass_with_its_own_loss_does_not_inherit_the_gradient() -> None:
    class Twice(Mse):
        name: Literal["twice"] = "twice"  # type: ignore[assignment]

        def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return 2.0 * super().per_example(outputs, target)

    del Loss.registered["twice"]
    assert Mse.closed_form()
    assert not Twice.closed_form()
