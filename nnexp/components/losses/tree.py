"""Classes as the leaves of a binary tree: a decision at each node on the way to one."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import PrivateAttr

from nnexp.components.layer import Context
from nnexp.components.losses.loss import Loss
from nnexp.components.table import existing_file
from nnexp.components.windows import Windows, table_rows
from nnexp.errors import DataError, count
from nnexp.lazy import functional, torch
from nnexp.registry import param


@dataclass(frozen=True)
class Tree:
    """The way to each class in a full binary tree of C leaves and C − 1 nodes.

    nodes: int64 `[C, D]`, the nodes from the root on, −1 beyond the leaf. signs: `[C, D]`, 1 where
    the way goes to the child that σ(a) is the probability of, −1 to the other, 0 beyond the leaf.
    """

    nodes: np.ndarray
    signs: np.ndarray

    @classmethod
    def of_codes(cls, codes: Sequence[str]) -> Tree:
        """From each class's way as 0s and 1s. ValueError if they make no full binary tree."""
        leaves = set(codes)
        inner = sorted({code[:i] for code in codes for i in range(len(code))}, key=_by_depth)
        if len(leaves) < len(codes):
            raise ValueError("two classes have the same code")
        if any(code in leaves for code in inner):
            raise ValueError("a class's code is the beginning of another one's")
        if len(inner) != len(codes) - 1:
            code = next(c + bit for c in inner for bit in "01" if c + bit not in {*inner, *leaves})
            raise ValueError(f"no class has a code that begins with {code}")
        number = {code: place for place, code in enumerate(inner)}
        shape = (len(codes), max(map(len, codes)))
        nodes, signs = np.full(shape, -1, np.int64), np.zeros(shape)
        for row, code in enumerate(codes):
            for depth, bit in enumerate(code):
                nodes[row, depth] = number[code[:depth]]
                signs[row, depth] = 1.0 if bit == "1" else -1.0
        return cls(nodes, signs)


def _by_depth(code: str) -> tuple[int, str]:
    return len(code), code


def huffman(counts: Sequence[int]) -> list[str]:
    """Each class's code in a Huffman tree: frequent ones are short (Huffman 1952).

    Deterministic: of equal counts the class that comes first, or the older node, goes first.
    """
    queue = [(int(n), place, place) for place, n in enumerate(counts)]
    heapq.heapify(queue)
    parent, bit = dict[int, int](), dict[int, str]()
    for made in range(len(counts), 2 * len(counts) - 1):
        (a, _, low), (b, _, high) = heapq.heappop(queue), heapq.heappop(queue)
        parent[low], parent[high], bit[low], bit[high] = made, made, "0", "1"
        heapq.heappush(queue, (a + b, made, made))
    code = {2 * len(counts) - 2: ""}
    for node in range(2 * len(counts) - 3, -1, -1):  # a parent is always made later
        code[node] = code[parent[node]] + bit[node]
    return [code[place] for place in range(len(counts))]


def balanced(classes: int) -> list[str]:
    """Codes of equal length, or two lengths that differ by one."""
    depth = (classes - 1).bit_length()
    short = 2**depth - classes  # leaves one level higher
    codes = [f"{i:0{depth - 1}b}" for i in range(short)] if depth > 1 else []
    return codes + [
        f"{i:0{depth}b}" for i in range(2 * len(codes), 2 * len(codes) + classes - len(codes))
    ]


@lru_cache(maxsize=16)
def _huffman_tree(counts: tuple[int, ...]) -> Tree:
    return Tree.of_codes(huffman(counts))


class HierarchicalSoftmax(Loss):
    """−Σ log σ(±a_n) over the nodes on the way to the class in a binary tree of the classes.

    The network has an output for each of the C − 1 inner nodes. The tree is Huffman's for the
    training examples (frequent classes are near the root), balanced, or your own. With 1,000
    outputs or more, training computes those on the way only.

    Formula: p(c) = Π_n σ(s_n a_n), s_n = ±1 for the two children of node n
    Use: with very many classes: of an example only the nodes on its way learn. With few,
    cross_entropy is better.
    Source: Morin & Bengio (2005), "Hierarchical probabilistic neural network language model";
    Huffman's tree: Mikolov et al. (2013).
    """

    name: Literal["hierarchical_softmax"] = "hierarchical_softmax"
    also = ("hs", "tree_softmax")
    tasks = ("classification", "dense", "words")
    narrow_from = 1000
    tree: Literal["huffman", "balanced"] = param("huffman", "shape of the tree, without `codes`")
    codes: dict[str, str] | str | None = param(
        None, "class: its way from the root as 0s and 1s; or a file with a line of both a class"
    )
    _nodes: Any = PrivateAttr(None)  # tensors `[M or 1, C, D]`, once the tree is known
    _signs: Any = PrivateAttr(None)

    def with_paths(self, root: Path) -> Self:
        if not isinstance(self.codes, str):
            return self
        return self.model_copy(update={"codes": read_codes(root, self.codes)})

    def outputs(self, targets: int) -> int:
        if targets < 2:
            raise ValueError("hierarchical_softmax needs at least 2 classes")
        return targets - 1

    def knowing(self, classes: Sequence[str], counts: np.ndarray) -> Self:
        if isinstance(self.codes, dict):
            trees = [Tree.of_codes(self._codes_of(self.codes, classes))]
        elif self.tree == "balanced":
            trees = [Tree.of_codes(balanced(len(classes)))]
        else:
            rows = counts[:1] if (counts == counts[0]).all() else counts
            trees = [_huffman_tree(tuple(row.tolist())) for row in rows]
        found = self.model_copy()
        found._nodes = _stacked([tree.nodes for tree in trees], -1)
        found._signs = _stacked([tree.signs for tree in trees], 0)
        return found

    def weigh(self, classes: Sequence[str], counts: np.ndarray) -> np.ndarray:
        if isinstance(self.codes, dict):  # told before training
            Tree.of_codes(self._codes_of(self.codes, classes))
        return super().weigh(classes, counts)

    def per_example(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nodes, signs = self._way(outputs, target)
        scores = outputs.gather(2, nodes.flatten(2)).view(signs.shape)
        return (functional.softplus(-signs * scores) * signs.abs()).sum(-1)

    def of_head(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        target: torch.Tensor,
    ) -> torch.Tensor:
        nodes, signs = self._way(weight[:, None, 0], target)
        members, rows, depth = nodes.shape
        index = nodes.view(members, 1, -1)
        columns = weight.gather(2, index.expand(-1, weight.shape[1], -1))
        columns = columns.view(members, -1, rows, depth)
        scores = torch.einsum("mbh,mhbd->mbd", hidden, columns)
        if bias is not None:
            scores = scores + bias.gather(2, index).view(nodes.shape)
        return (functional.softplus(-signs * scores) * signs.abs()).sum(-1)

    def gradient(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        nodes, signs = self._way(outputs, target)
        scores = outputs.gather(2, nodes)
        losses = (functional.softplus(-signs * scores) * signs.abs()).sum(-1)
        slope = -signs * torch.sigmoid(-signs * scores)
        return losses, torch.zeros_like(outputs).scatter_add_(2, nodes, slope)

    def scores(self, outputs: torch.Tensor) -> torch.Tensor:
        """The log-probability of each class, `[M, B, C]`."""
        assert self._nodes is not None
        members, rows = outputs.shape[:2]
        every = torch.arange(self._nodes.shape[1], device=outputs.device)
        nodes, signs = self._way(outputs, every.expand(members, -1))  # [M, C, D]
        flat = nodes.flatten(1)[:, None].expand(-1, rows, -1)
        scores = outputs.gather(2, flat).view(members, rows, *nodes.shape[1:])
        signs = signs[:, None]
        return -(functional.softplus(-signs * scores) * signs.abs()).sum(-1)

    def decide(self, outputs: torch.Tensor) -> torch.Tensor:
        return self.scores(outputs).argmax(-1)

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        return self.scores(outputs).exp()

    def of_windows(
        self, hidden: torch.Tensor, windows: Windows, table: torch.Tensor, ctx: Context
    ) -> torch.Tensor:
        words, member = table.shape[1] + 1, windows.home // windows.blocks
        target = windows.targets - (member * words)[:, None]
        assert self._nodes is not None
        assert self._signs is not None
        mine = member if len(self._nodes) > 1 else torch.zeros_like(member)
        nodes = self._nodes.to(table.device)[mine[:, None], target]
        signs = self._signs.to(table.device, table.dtype)[mine[:, None], target]
        rows = nodes.clamp_min(0) + (member * table.shape[1])[:, None, None]
        scores = torch.bmm(hidden, table_rows(table.flatten(0, 1), rows.flatten(1)).transpose(1, 2))
        scores = scores.view(*hidden.shape[:2], *signs.shape[1:])
        signs = signs[:, None]
        losses = (functional.softplus(-signs * scores) * signs.abs()).sum(-1)
        return windows.mean((losses * windows.pairs.to(losses.dtype)).sum((1, 2)))

    def _way(
        self, outputs: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Nodes (0 beyond the leaf) and signs on the way to classes `[M, B]`: `[M, B, D]` each."""
        assert self._nodes is not None, "the program gives the tree"
        assert self._signs is not None
        index = target[..., None].expand(-1, -1, self._nodes.shape[2])
        members = (outputs.shape[0], -1, -1)
        nodes = self._nodes.to(outputs.device).expand(members).gather(1, index)
        signs = self._signs.to(outputs.device, outputs.dtype).expand(members).gather(1, index)
        return nodes.clamp_min(0), signs

    @staticmethod
    def _codes_of(codes: Mapping[str, str], classes: Sequence[str]) -> list[str]:
        """ValueError if they are not for these classes."""
        if lacking := [name for name in classes if name not in codes]:
            raise ValueError(f"codes: there is none for class {lacking[0]}")
        if extra := [name for name in codes if name not in classes]:
            raise ValueError(f"codes: there is no class {extra[0]}")
        if wrong := [name for name, code in codes.items() if not code or set(code) - {"0", "1"}]:
            raise ValueError(f"codes: {wrong[0]}: {codes[wrong[0]]!r} is not a row of 0s and 1s")
        return [codes[name] for name in classes]


def _stacked(arrays: Sequence[np.ndarray], beyond: int) -> torch.Tensor:
    """Arrays `[C, D]` of trees of several depths as one, `[M, C, D]`."""
    depth = max(array.shape[1] for array in arrays)
    wide = [((0, 0), (0, depth - array.shape[1])) for array in arrays]
    padded = [np.pad(a, w, constant_values=beyond) for a, w in zip(arrays, wide, strict=True)]
    return torch.from_numpy(np.stack(padded))


def read_codes(root: Path, name: str) -> dict[str, str]:
    """A file of codes: a class's name, white space, its way as 0s and 1s. DataError if it isn't."""
    path = existing_file(root, name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text with codes of classes") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = line.rsplit(maxsplit=1)
        if len(parts) != 2 or set(parts[1]) - {"0", "1"}:
            raise DataError(f"{path}, line {number}: should be a class and its way as 0s and 1s")
        if parts[0] in found:
            raise DataError(f"{path}, line {number}: class {parts[0]} is there twice")
        found[parts[0]] = parts[1]
    if len(found) < 2:
        raise DataError(
            f"{path}: should have a line for each class, and has {count(len(found), 'line')}"
        )
    return found
