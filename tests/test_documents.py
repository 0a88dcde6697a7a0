"""The source documents' own numbers, and what is right where a document is wrong.

S0 … S4 are the five sets of lecture notes that name the techniques.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from nnexp import streams
from nnexp.components.layer import Context, Layer, Seen
from nnexp.components.losses.loss import Loss
from nnexp.components.models.model import Mlp
from nnexp.components.optimizers.optimizer import Moment, Optimizer
from nnexp.components.preprocessing import OneHot, Standardize
from nnexp.components.preprocessing.step import TrainingRows
from nnexp.components.regularizers import Regularizer, Sizes
from nnexp.components.table import Features
from nnexp.config.experiment import Experiment
from nnexp.train.blueprint import Signature, declare
from nnexp.train.program import Program

CPU = torch.device("cpu")


def tensor(*values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def layer(name: str, **fields: Any) -> Layer:
    found = Layer.registered[name](**fields)
    assert isinstance(found, Layer)
    return found


def loss(name: str, **fields: Any) -> Loss:
    found = Loss.registered[name](**fields)
    assert isinstance(found, Loss)
    return found


def activate(name: str, x: torch.Tensor, **fields: Any) -> torch.Tensor:
    """An activation without weights on a row of values."""
    one = layer(name, **fields)
    hyper = {"beta": fields.get("beta", 1.0)}
    return one.forward(x[None, None], {}, hyper, Context(training=False))[0, 0]


def descend(name: str, start: float, slope: Any, steps: int, **fields: Any) -> list[float]:
    """Where an optimizer takes one weight, step by step, down a function of this slope."""
    optimizer = Optimizer.registered[name](**fields)
    assert isinstance(optimizer, Optimizer)
    at = tensor([start])
    state, path = optimizer.init(at), [start]
    hyper = {f: getattr(optimizer, f) for f in type(optimizer).model_fields if f != "name"}
    for number in range(steps):
        moment = Moment(number + 1, optimizer.lr, hyper, torch.ones(1).double())
        optimizer.update(at, tensor([slope(float(at))]), state, moment)
        path.append(float(at))
    return path


# -- numbers of the documents ----------------------------------------------------------------------


def test_s0_backprop_through_a_sigmoid_unit() -> None:
    """f = σ(w₀x₀ + w₁x₁ + w₂) at w = (2, −3, −3), x = (−1, −2)."""
    linear, sigmoid = layer("linear", units=1), layer("sigmoid")
    ctx, x = Context(training=True), tensor([[-1.0, -2.0]])
    own = {"weight": tensor([[2.0], [-3.0]]), "bias": tensor([[-3.0]])}
    grads = {name: torch.zeros_like(value) for name, value in own.items()}
    a = linear.forward(x, own, {}, ctx)
    f = sigmoid.forward(a, {}, {}, ctx)
    da = sigmoid.pull(torch.ones_like(f), Seen(a, f, {}, {}, {}, True), ctx)
    assert da is not None
    dx = linear.pull(da, Seen(x, a, own, {}, grads, True), ctx)
    assert dx is not None
    assert float(f) == pytest.approx(0.7311, abs=5e-5)
    dw = [*grads["weight"].flatten().tolist(), float(grads["bias"])]
    assert dw == pytest.approx([-0.1966, -0.3932, 0.1966], abs=5e-5)
    assert dx.flatten().tolist() == pytest.approx([0.3932, -0.5898], abs=5e-5)


def test_s2_dropout_of_a_third_scales_by_three_halves() -> None:
    keys = streams.member_keys([0], streams.DROPOUT, CPU)
    x = torch.ones(1, 50, 300, dtype=torch.float64)
    y = layer("dropout").forward(x, {}, {"rate": 1 / 3}, Context(training=True, members=keys))
    np.testing.assert_allclose(sorted(y.unique().tolist()), [0.0, 1.5], rtol=1e-12)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)


def test_s2_a_layer_of_2000_units_on_2500_has_five_million_weights() -> None:
    (first, *_) = declare([*Mlp(hidden=[2000]).build((2500,))][:1], (2500,))
    weight = next(slot for slot in first.slots if slot.role == "weight")
    assert math.prod(weight.shape) == 5_000_000


def test_s3_one_hot_of_7_samples_in_4_categories() -> None:
    names = ["a", "c", "b", "d", "a", "c", "c"]
    text = np.array([[n] for n in names], dtype=object)
    features = Features(np.empty((7, 0)), (), text, ("kind",))
    step = OneHot()
    state = step.fit(TrainingRows(features, np.arange(7), np.zeros(7)))
    rows = step.apply(features, state).flat()
    assert rows.shape == (7, 4)
    assert (rows.sum(axis=1) == 1).all()
    assert rows.argmax(axis=1).tolist() == ["abcd".index(n) for n in names]


def test_s4_softmax_and_hardmax() -> None:
    outputs = tensor([[5.0, 2.0, -1.0, 3.0]])
    found = loss("cross_entropy").probabilities(outputs)
    assert found is not None
    assert found[0, 0].tolist() == pytest.approx([0.842, 0.042, 0.002, 0.114], abs=5e-4)
    decided = loss("cross_entropy").decide(outputs)
    assert torch.nn.functional.one_hot(decided[0, 0], 4).tolist() == [1, 0, 0, 0]


def test_s4_gradient_descent_on_a_parabola_reaches_its_bottom() -> None:
    """w² − 10w + 25 with η = 0.01 in 1000 steps."""
    path = descend("sgd", 0.0, lambda w: 2 * w - 10, 1000, lr=0.01)
    assert path[1] == pytest.approx(0.1)
    assert path[-1] == pytest.approx(5.0, abs=1e-6)


@pytest.mark.parametrize("beta", [0.9, 0.98])
def test_s4_moving_averages_and_their_correction(beta: float) -> None:
    """v_t = (1 − β) Σ β^(t−i) θ_i, corrected by 1 − β^t: early stopping's `smooth`."""
    from nnexp.train.loop import _early_stopping
    from nnexp.train.state import MemberState

    values = [40.0, 49.0, 45.0, 44.0, 60.0]
    one = Experiment.model_validate(
        {
            "data": {"source": "digits"},
            "model": "linear",
            "training": {"early_stopping": {"monitor": "dev/loss", "smooth": beta}},
        }
    )
    stopping = one.training.early_stopping
    assert stopping is not None
    member = MemberState(history=[{"epoch": 1}])
    for t, value in enumerate(values, start=1):
        _early_stopping(member, one, stopping, value)
        plain = (1 - beta) * sum(beta ** (t - i) * v for i, v in enumerate(values[:t], start=1))
        assert member.average == pytest.approx(plain)
        assert member.average_weight == pytest.approx(1 - beta**t)
    assert member.best == pytest.approx(40.0)  # without the correction it would be 4, or 0.8


# -- where a document is wrong ---------------------------------------------------------------------


def test_s0_cross_entropy_is_lowest_when_right() -> None:
    right, wrong = tensor([[9.0, 0.0]]), tensor([[0.0, 9.0]])
    target = torch.tensor([[0]])
    one = loss("cross_entropy")
    assert float(one.per_example(right, target)) < 1e-3
    assert float(one.per_example(wrong, target)) > 8


def test_s0_the_binary_form_has_its_minus() -> None:
    one, outputs = loss("binary_cross_entropy"), tensor([[0.3]])
    p = 1 / (1 + math.exp(-0.3))
    assert float(one.per_example(outputs, torch.tensor([[1]]))) == pytest.approx(-math.log(p))
    assert float(one.per_example(outputs, torch.tensor([[0]]))) == pytest.approx(-math.log(1 - p))


def test_s0_swish_falls_below_zero() -> None:
    x = torch.linspace(-5, 5, 100_001, dtype=torch.float64)
    y = activate("swish", x)
    assert float(y.min()) == pytest.approx(-0.2785, abs=5e-5)
    assert float(x[y.argmin()]) == pytest.approx(-1.2785, abs=1e-3)


def test_s1_momentum_carries_the_velocity_not_the_weight() -> None:
    path = descend("momentum", 7.0, lambda _: 0.0, 5, lr=0.1)
    assert path == [7.0] * 6  # without a slope nothing moves; γθ would shrink the weight
    u, w, expected = 0.0, 1.0, [1.0]
    for _ in range(4):
        u = 0.9 * u - 0.1 * (2 * w)
        w += u
        expected.append(w)
    assert descend("momentum", 1.0, lambda w: 2 * w, 4, lr=0.1) == pytest.approx(expected)


def test_s1_nesterov_looks_ahead() -> None:
    """The slope is taken at θ + μu: at θ's own it would be plain momentum."""
    u, w, ahead = 0.0, 1.0, []
    for _ in range(5):
        ahead.append(w + 0.9 * u)
        u = 0.9 * u - 0.1 * 2 * (w + 0.9 * u)
        w += u
    assert descend("nesterov", 1.0, lambda w: 2 * w, 4, lr=0.1) == pytest.approx(ahead)


def test_s1_s3_s4_adam_is_kingma_and_bas() -> None:
    """Both moments corrected, the second one of squared gradients."""
    m = v = 0.0
    w, expected = 1.0, [1.0]
    for t in range(1, 6):
        g = 2 * w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected.append(w)
    assert descend("adam", 1.0, lambda w: 2 * w, 5, lr=0.1) == pytest.approx(expected)
    assert expected[1] == pytest.approx(0.9)  # uncorrected, the first step would be 0.1·√10


def test_s1_the_l1_step_has_its_half() -> None:
    one = Regularizer.registered["l1"](coefficient=0.4, step="subgradient")
    assert isinstance(one, Regularizer)
    from nnexp.components.layout import Layout, Scope

    params, grads = tensor([3.0, -2.0, 0.0]), torch.zeros(1, 3, dtype=torch.float64)
    scope = Scope(torch.ones(3).double(), Layout())
    one.add_gradient(grads, params, scope, {"coefficient": 0.4}, Sizes(1, 1))
    assert grads[0].tolist() == pytest.approx([0.2, -0.2, 0.0])


def test_s1_softplus_has_the_sigmoid_for_its_slope() -> None:
    x = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(activate("softplus", x).sum(), x)
    torch.testing.assert_close(slope, torch.sigmoid(x.detach()))


def test_s1_lower_rates_keep_relus_alive() -> None:
    """Units that no example reaches any more, after training at a low and at a high rate."""
    x = torch.tensor(np.random.default_rng(0).standard_normal((1, 200, 10)))
    y = 5.0 * x[:, :, :1]

    def dead(lr: float) -> float:
        model = {"name": "mlp", "hidden": [100]}
        config = {
            "data": {"source": "digits"}, "model": model, "task": "regression", "loss": "mse",
            "training": {"precision": "float64"}, "optimizer": {"name": "sgd", "lr": lr},
        }  # fmt: skip
        from nnexp.train import state, step

        program = Program([Experiment.model_validate(config)], Signature((10,), 1, 200), CPU)
        now = state.start(program)
        working = step.Working(program, now.tensors)
        for number in range(200):
            working.step(x, y, number, lr, None)
        weight, bias = program.layout.views(working.params)[:2]
        return float(((x @ weight + bias) <= 0).all(1).double().mean())

    assert dead(0.01) == 0.0
    assert dead(0.1) > 0.05


def test_s2_weights_start_from_a_normal_law_around_0() -> None:
    for name in ("normal", "he_normal", "glorot_normal"):
        from nnexp.components.inits import Initializer

        one = Initializer.registered[name]()
        assert isinstance(one, Initializer)
        w = one.sample((200, 100), 200, 100, 1).ravel()
        assert abs(w.mean()) < 0.05 * w.std()
        assert float(np.mean(np.abs(w) < w.std())) == pytest.approx(0.6827, abs=0.01)


def test_s2_batch_norm_divides_by_the_root() -> None:
    x = tensor(*np.random.default_rng(0).normal(3.0, 5.0, (40, 2)).tolist())[None]
    one = layer("batch_norm")
    own = {
        slot.name: torch.full((1, *slot.shape), slot.fill, dtype=torch.float64)
        for slot in one.declare((2,)).slots
    }
    y = one.forward(x, own, {}, Context(training=True))[0]
    root = (x[0].var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(y, (x[0] - x[0].mean(0)) / root)


def test_s2_convolution_moves_along_and_pooling_stays() -> None:
    x = torch.zeros(1, 1, 1, 8, 8, dtype=torch.float64)
    x[..., 2, 2] = 1.0
    moved = x.roll((1, 1), (-2, -1))
    conv = layer("conv2d", channels=2)
    rng = np.random.default_rng(0)
    own = {
        slot.name: torch.tensor(rng.standard_normal((1, *slot.shape)))
        for slot in conv.declare((1, 8, 8)).slots
    }
    ctx = Context(training=False)
    one, other = (conv.forward(image, own, {}, ctx) for image in (x, moved))
    torch.testing.assert_close(one.roll((1, 1), (-2, -1)), other)  # equivariant, not invariant
    assert not torch.equal(one, other)
    pool = layer("max_pool2d", size=2)
    assert torch.equal(pool.forward(x, {}, {}, ctx), pool.forward(moved, {}, {}, ctx))


def test_s3_the_sigmoid_has_a_minus_in_its_exponent() -> None:
    x = tensor(-2.0, 0.0, 3.0)
    expected = [1 / (1 + math.exp(-v)) for v in (-2.0, 0.0, 3.0)]
    assert activate("sigmoid", x).tolist() == pytest.approx(expected)


def test_s3_squared_error_squares_the_difference() -> None:
    found = loss("mse").per_example(tensor([[5.0]]), tensor([[3.0]]))
    assert float(found) == pytest.approx(0.5 * (5 - 3) ** 2)


def test_s3_a_mini_batch_counts_its_own_examples() -> None:
    """The gradient of a batch is divided by the batch's b, not by all of m."""
    config = {
        "data": {"source": "digits"}, "model": "linear", "task": "regression", "loss": "mse",
        "training": {"precision": "float64"},
    }  # fmt: skip
    from nnexp.train import state, step

    program = Program([Experiment.model_validate(config)], Signature((2,), 1, 1000), CPU)
    working = step.Working(program, state.start(program).tensors)
    x, y = tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([[1.0], [0.0]])
    _, once = working.gradients(x, y, 0)
    once = once.clone()
    _, thrice = working.gradients(x.repeat(1, 3, 1), y.repeat(1, 3, 1), 0)
    torch.testing.assert_close(once, thrice)


def test_s3_adagrad_counts_the_gradient_at_hand() -> None:
    """G holds g of this step: the first step is η·sign(g), whatever g is."""
    for slope in (1e-3, 5.0):
        path = descend("adagrad", 1.0, lambda _, slope=slope: slope, 1, lr=0.1)
        assert path[1] == pytest.approx(0.9, abs=1e-6)


def test_s3_small_gradients_make_the_mean_square_small_and_the_step_no_smaller() -> None:
    big, small = (
        descend("rmsprop", 0.0, lambda _, slope=slope: slope, 50, lr=0.01)[-1]
        for slope in (1.0, 1e-3)
    )
    assert small == pytest.approx(big, rel=1e-3)


def test_s4_inputs_are_divided_by_the_deviation_not_the_variance() -> None:
    x = np.random.default_rng(0).normal(2.0, 7.0, (100, 3))
    features, step = Features.of(x), Standardize()
    state = step.fit(TrainingRows(features, np.arange(100), np.zeros(100)))
    np.testing.assert_allclose(step.apply(features, state).flat().std(axis=0), 1.0)
