"""Averages over the members of a committee: of what they answer, not of their weights."""

from __future__ import annotations

from collections.abc import Sequence

from nnexp.components.losses.loss import Loss
from nnexp.lazy import torch
from nnexp.runs.record import PartScores
from nnexp.runs.rundir import RunDir
from nnexp.train import evaluate
from nnexp.train.loop import Pack


def committee(run: RunDir) -> list[RunDir]:
    """The runs inside a committee; [] if the run is none."""
    return [RunDir(run.path / f"m{i}") for i in range(_size(run))]


def _size(run: RunDir) -> int:
    return len(run.read_manifest().get("ensemble", ()))


def averaged(pack: Pack, found: Sequence[PartScores], part: str) -> PartScores:
    """The scores of the members' mean answer, all with the same weight.

    Means are taken of probabilities where the loss gives them, of values in the target's own
    units, else of outputs, and scored as outputs of the first member.
    pack: the first member's. found: each member's scores on the same examples.
    """
    program, rows = pack.program([0]), pack.feed.rows(part, [0])
    with torch.inference_mode():
        if program.task == "regression":
            values = torch.stack([one.scored.prediction[0].cpu() for one in found])
            out = values.mean(0).to(pack.device)
            if (scale := pack.feed.scales([0])) is not None:
                out = (out - scale[0][0]) / scale[1][0]
        else:
            each = torch.stack([one.outputs.double().cpu() for one in found])
            out = mean_outputs(program.loss, each).to(pack.device)
        target = pack.feed.targets[rows]
        losses = program.losses(out[None], target)
        scored = evaluate.scored(program, out[None], target, losses, pack.feed, rows, [0])
        metrics = {k: v[0] for k, v in evaluate.compute(program.metrics, scored).items()}
    return PartScores(metrics, out, scored)


def mean_outputs(loss: Loss, outputs: torch.Tensor) -> torch.Tensor:
    """Outputs `[N, K]` that give the mean of the probabilities of M members' `[M, N, K]`.

    Where the loss gives no probabilities, or they don't tell the outputs, the mean output.
    """
    chances = loss.probabilities(outputs)
    if chances is not None:
        mean = chances.mean(0).clamp(1e-300, 1.0)
        ways = [mean.log()]  # of a softmax
        ways.append(ways[0] - (1.0 - mean).clamp_min(1e-300).log())  # of a sigmoid for each label
        ways.append((mean[:, -1:] / mean[:, :1]).log())  # of one sigmoid for two classes
        for way in ways:
            again = loss.probabilities(way[None]) if way.shape == outputs.shape[1:] else None
            if again is not None and torch.allclose(again[0], mean, rtol=1e-9, atol=1e-12):
                return way
    return outputs.mean(0)
