"""Hierarchical softmax: Huffman's tree, its probabilities, and a classifier that has it."""

from __future__ import annotations

import heapq
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnexp.components.losses.classes import BinaryCrossEntropy
from nnexp.components.losses.tree import (
    HierarchicalSoftmax,
    Tree,
    balanced,
    huffman,
    read_codes,
)
from nnexp.errors import DataError

M, B = 3, 7

Counts = st.lists(st.integers(0, 50), min_size=2, max_size=40)


def known(counts: list[list[int]], **fields: object) -> HierarchicalSoftmax:
    names = [str(i) for i in range(len(counts[0]))]
    return HierarchicalSoftmax.model_validate(fields).knowing(names, np.array(counts))


@given(Counts)
@settings(max_examples=60, deadline=None)
def test_huffmans_codes_are_as_short_as_can_be(counts: list[int]) -> None:
    codes = huffman(counts)
    assert len(set(codes)) == len(codes)
    assert sum(2.0 ** -len(code) for code in codes) == 1.0  # Kraft: a full tree
    queue, cost = list(counts), 0  # the cost is the sum of what is joined, whatever the ties
    heapq.heapify(queue)
    while len(queue) > 1:
        cost += (joined := heapq.heappop(queue) + heapq.heappop(queue))
        heapq.heappush(queue, joined)
    assert sum(n * len(code) for n, code in zip(counts, codes, strict=True)) == cost


@given(st.integers(2, 200))
@settings(max_examples=40, deadline=None)
def test_balanced_codes_differ_by_one_at_most(classes: int) -> None:
    codes = balanced(classes)
    assert len(set(codes)) == classes
    assert max(map(len, codes)) - min(map(len, codes)) <= 1
    Tree.of_codes(codes)


@given(st.lists(Counts.map(lambda c: c[:2]), min_size=1, max_size=1), st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_of_two_classes_it_is_binary_cross_entropy(counts: list[list[int]], seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(M, B, 1, generator=draw, dtype=torch.float64)
    target = torch.randint(2, (M, B), generator=draw)
    found = known(counts).per_example(outputs, target)
    codes = huffman(counts[0])
    right = (target if codes[1] == "1" else 1 - target).long()
    expected = BinaryCrossEntropy().per_example(outputs, right)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


@given(st.integers(2, 12), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_probabilities_are_products_of_sigmoids(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 30, (M, classes)).tolist()  # a tree for each member
    loss = known(counts)
    outputs = torch.from_numpy(3 * rng.standard_normal((M, B, classes - 1)))
    p = loss.probabilities(outputs)
    torch.testing.assert_close(p.sum(-1), torch.ones(M, B).double(), rtol=1e-12, atol=0)
    for member in range(M):
        codes = huffman(counts[member])
        inner = sorted({c[:i] for c in codes for i in range(len(c))}, key=lambda c: (len(c), c))
        for c, code in enumerate(codes):
            expected = np.ones(B)
            for depth, bit in enumerate(code):
                a = outputs[member, :, inner.index(code[:depth])].numpy()
                expected = expected / (1 + np.exp(-a if bit == "1" else a))
            np.testing.assert_allclose(p[member, :, c].numpy(), expected, rtol=1e-11)
    for c in range(classes):
        losses = loss.per_example(outputs, torch.full((M, B), c))
        torch.testing.assert_close(losses, -p[..., c].log(), rtol=1e-11, atol=1e-12)
    assert (loss.decide(outputs) == p.argmax(-1)).all()


def test_gradients_are_two_sided_differences() -> None:
    loss = known([[5, 1, 3, 9, 2]] * M)
    draw = torch.Generator().manual_seed(4)
    outputs = torch.randn(M, B, 4, generator=draw, dtype=torch.float64)
    target = torch.randint(5, (M, B), generator=draw)
    leaf = outputs.clone().requires_grad_()
    losses = loss.per_example(leaf, target)
    (automatic,) = torch.autograd.grad(losses.sum(), leaf)
    same, closed = loss.gradient(outputs, target)
    torch.testing.assert_close(same, losses.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(closed, automatic, rtol=1e-13, atol=1e-15)
    eps, numeric = 1e-5, torch.empty_like(outputs)
    for place in range(4):
        shift = torch.zeros_like(outputs)
        shift[..., place] = eps
        up, down = (loss.per_example(outputs + s, target) for s in (shift, -shift))
        numeric[..., place] = (up - down) / (2 * eps)
    assert (closed - numeric).norm() / (closed.norm() + numeric.norm()) < 1e-9


def test_members_have_trees_of_their_own() -> None:
    loss = known([[9, 1, 1, 1], [1, 1, 1, 9]])
    zero = torch.zeros(2, 4, 3, dtype=torch.float64)
    losses = loss.per_example(zero, torch.arange(4).expand(2, -1)) / math.log(2)
    assert losses.round().tolist() == [[1, 3, 3, 2], [3, 3, 2, 1]] or sorted(
        losses[0].round().tolist()
    ) == [1, 2, 3, 3]
    assert losses[0, 0] == pytest.approx(1)
    assert losses[1, 3] == pytest.approx(1)


class TestCodes:
    def test_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "tree.txt").write_text("a cat 0\ndog 10\n\nfox\t11\n")
        codes = read_codes(tmp_path, "tree.txt")
        assert codes == {"a cat": "0", "dog": "10", "fox": "11"}
        spec = HierarchicalSoftmax(codes="tree.txt").with_paths(tmp_path)
        assert spec.codes == codes
        loss = spec.knowing(["dog", "a cat", "fox"], np.array([[1, 1, 1]]))
        p = loss.probabilities(torch.zeros(1, 1, 2))
        assert p.flatten().tolist() == pytest.approx([0.25, 0.5, 0.25])

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("a 0\nb\n", "line 2: should be a class and its way"),
            ("a 0\nb 2\n", "line 2: should be a class and its way"),
            ("a 0\na 1\n", "class a is there twice"),
            ("a 0\n", "a line for each class"),
            ("", "a line for each class"),
        ],
    )
    def test_files_that_are_none(self, tmp_path: Path, text: str, why: str) -> None:
        (tmp_path / "tree.txt").write_text(text)
        with pytest.raises(DataError, match=why):
            read_codes(tmp_path, "tree.txt")
        with pytest.raises(DataError, match="no such file"):
            read_codes(tmp_path, "trees.txt")

    @pytest.mark.parametrize(
        ("codes", "why"),
        [
            ({"a": "0", "b": "10"}, "none for class c"),
            ({"a": "0", "b": "10", "c": "11", "d": "1"}, "no class d"),
            ({"a": "0", "b": "10", "c": "10"}, "the same code"),
            ({"a": "0", "b": "1", "c": "11"}, "the beginning of another"),
            ({"a": "0", "b": "10", "c": "111"}, "no class has a code that begins with 110"),
            ({"a": "0", "b": "10", "c": "x"}, "not a row of 0s and 1s"),
            ({"a": "0", "b": "10", "c": ""}, "not a row of 0s and 1s"),
        ],
    )
    def test_codes_that_make_no_tree(self, codes: dict[str, str], why: str) -> None:
        with pytest.raises(ValueError, match=why):
            HierarchicalSoftmax(codes=codes).weigh(["a", "b", "c"], np.ones(3))

    def test_one_class_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 2 classes"):
            HierarchicalSoftmax().outputs(1)


@pytest.mark.parametrize("bias", [True, False])
def test_the_way_alone_gives_the_same_loss_and_gradient(bias: bool) -> None:
    loss = known([[9, 4, 2, 2, 1, 1], [1, 1, 1, 5, 1, 9], [1, 1, 1, 1, 1, 1]])
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(M, B, 4, generator=draw, dtype=torch.float64).requires_grad_()
    weight = torch.randn(M, 4, 5, generator=draw, dtype=torch.float64).requires_grad_()
    shift = torch.randn(M, 1, 5, generator=draw, dtype=torch.float64).requires_grad_()
    leaves = [hidden, weight, *([shift] if bias else [])]
    target = torch.randint(6, (M, B), generator=draw)
    narrow = loss.of_head(hidden, weight, shift if bias else None, target)
    outputs = hidden @ weight + (shift if bias else 0)
    whole = loss.per_example(outputs, target)
    torch.testing.assert_close(narrow, whole, rtol=1e-13, atol=1e-14)
    for one, other in zip(
        torch.autograd.grad(narrow.sum(), leaves),
        torch.autograd.grad(whole.sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
