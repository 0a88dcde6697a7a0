"""Layers that bring units to a common scale."""

from __future__ import annotations

from typing import Literal

from nnexp.components.layer import (
    Context,
    Declared,
    Hyper,
    Layer,
    Seen,
    Shape,
    Slot,
    Tensors,
)
from nnexp.lazy import functional, torch
from nnexp.registry import param


class BatchNorm(Layer):
    """Batch normalization (Ioffe & Szegedy 2015), a feature or a channel at a time.

    y = γ (x − μ) / √(σ² + ε) + β with the batch's μ and σ² in training. Running averages,
    running ← (1 − momentum)·running + momentum·batch, stand in for them in evaluation
    (the running variance is the unbiased one, as in torch). Statistics are float32 at least.

    Use: in deep networks with batches of 16 and more: it allows higher rates; not in small batches.
    """

    name: Literal["batch_norm"] = "batch_norm"
    also = ("batchnorm", "bn")
    eps: float = param(1e-5, "added to the variance inside the root", gt=0, le=1)
    momentum: float = param(0.1, "weight of the newest batch in the running averages", gt=0, le=1)

    scale_start: float = param(1.0, "γ before training", ge=0, le=1000)

    def declare(self, shape: Shape) -> Declared:
        one = (shape[0], *[1] * (len(shape) - 1))
        slots = (
            Slot("gamma", one, "norm", fill=self.scale_start),
            Slot("beta", one, "norm"),
            Slot("running_mean", one, "buffer"),
            Slot("running_var", one, "buffer", fill=1.0),
        )
        return Declared(shape, slots)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        members, rows = x.shape[:2]
        # One channel a member and feature, [B, M·C, …]: torch's kernel, many times as quick as
        # the formula in separate operations.
        flat = x.transpose(0, 1).flatten(1, 2)
        flat = flat.float() if x.dtype is torch.bfloat16 else flat
        scale, shift = own["gamma"].flatten().to(flat.dtype), own["beta"].flatten().to(flat.dtype)
        mean, var = own["running_mean"].clone().flatten(), own["running_var"].clone().flatten()
        training = ctx.training and flat.numel() > len(mean)  # one value has no variance
        out, batch_mean, batch_root = torch.native_batch_norm(
            flat, scale, shift, mean, var, training, self.momentum, self.eps
        )
        if ctx.training:
            ctx.kept[ctx.layer] = (flat, scale, mean, var, batch_mean, batch_root, training)
        if training:
            own["running_mean"].copy_(mean.view_as(own["running_mean"]))
            own["running_var"].copy_(var.view_as(own["running_var"]))
        return out.view(rows, members, *x.shape[2:]).transpose(0, 1).to(x.dtype)

    def pull(self, dy: torch.Tensor, seen: Seen, ctx: Context) -> torch.Tensor | None:
        flat, scale, mean, var, batch_mean, batch_root, training = ctx.kept[ctx.layer]
        members, rows = dy.shape[:2]
        across = dy.transpose(0, 1).flatten(1, 2).to(flat.dtype)
        dx, gamma, beta = torch.ops.aten.native_batch_norm_backward(
            across, flat, scale, mean, var, batch_mean, batch_root, training, self.eps,
            [seen.wants_input, True, True],
        )  # fmt: skip
        for name, grad in (("gamma", gamma), ("beta", beta)):
            seen.grads[name].copy_(grad.view_as(seen.grads[name]))
        if not seen.wants_input:
            return None
        back: torch.Tensor = dx.view(rows, members, *dy.shape[2:])
        return back.transpose(0, 1).to(dy.dtype)


class LayerNorm(Layer):
    """Layer normalization: each example's features brought to mean 0 and variance 1.

    Formula: y = γ (x − μ) / √(σ² + ε) + β, μ and σ² over all features of the example
    Use: where batches are small or differ in length; the same in training and evaluation.

    Source: Ba, Kiros & Hinton (2016), "Layer normalization".
    """

    name: Literal["layer_norm"] = "layer_norm"
    also = ("layernorm", "ln")
    eps: float = param(1e-5, "added to the variance inside the root", gt=0, le=1)
    scale_start: float = param(1.0, "γ before training", ge=0, le=1000)

    def declare(self, shape: Shape) -> Declared:
        gamma = Slot("gamma", shape, "norm", fill=self.scale_start)
        return Declared(shape, (gamma, Slot("beta", shape, "norm")))

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        wide = x.float() if x.dtype is torch.bfloat16 else x
        same = functional.layer_norm(wide, x.shape[2:], eps=self.eps)
        return (same * own["gamma"][:, None] + own["beta"][:, None]).to(x.dtype)


class LocalResponseNorm(Layer):
    """Each value divided by a power of the mean square of its neighbourhood.

    Formula: y = x / (k + α·mean(x²))^β; the mean over `size` channels about the value's own, or
    over size × size pixels of its channel; what lies outside counts as 0
    Use: after the activation of early convolutional networks; batch_norm has replaced it.

    Source: Krizhevsky, Sutskever & Hinton (2012), section 3.3 (their α is this one divided by n).
    """

    name: Literal["local_response_norm"] = "local_response_norm"
    also = ("lrn", "response_norm")
    size: int = param(5, "width n of the neighbourhood", ge=1, le=255, also=("n",))
    alpha: float = param(1e-4, "factor on the mean square", ge=0, le=1000)
    beta: float = param(0.75, "power", gt=0, le=10)
    k: float = param(1.0, "added to the mean square", gt=0, le=1000)
    within: bool = param(False, "neighbours are pixels of the same channel, not channels")

    def declare(self, shape: Shape) -> Declared:
        if self.within and len(shape) != 3:
            raise ValueError(
                f"local_response_norm: `within` needs images (channels, height, width), not {shape}"
            )
        if self.within and self.size % 2 == 0:
            raise ValueError("local_response_norm: `within` needs an odd size")
        return Declared(shape)

    def forward(self, x: torch.Tensor, own: Tensors, hyper: Hyper, ctx: Context) -> torch.Tensor:
        flat = x.flatten(0, 1)
        flat = flat.float() if x.dtype is torch.bfloat16 else flat
        if self.within:
            mean = functional.avg_pool2d(flat * flat, self.size, 1, self.size // 2)
            return (flat / (self.k + self.alpha * mean).pow(self.beta)).view_as(x).to(x.dtype)
        flat = flat[..., None] if flat.ndim == 2 else flat  # units count as channels
        out = functional.local_response_norm(flat, self.size, self.alpha, self.beta, self.k)
        return out.view_as(x).to(x.dtype)
