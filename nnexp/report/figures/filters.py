"""What the first layer of a network for images looks for."""

from __future__ import annotations

import math

import numpy as np

from nnexp.report.figures.style import INK, Array, Figure, new_figure

MOST = 144
"""Filters that are drawn."""


def filters(weights: Array, title: str = "") -> Figure:
    """Draw filters as small images: red where a weight is positive, blue where it is negative.

    weights: `[F, C, H, W]`. Three channels are drawn in their colours, of two or of more than three
    each is drawn apart, a row a filter.
    All share one scale, so a faint filter has small weights. Raises UsageError without matplotlib.
    """
    weights = weights[:MOST]
    channels = weights.shape[1]
    colour = channels == 3
    tiles = weights if channels in (1, 3) else weights.reshape(-1, 1, *weights.shape[2:])[:MOST]
    across = math.ceil(math.sqrt(len(tiles))) if channels in (1, 3) else channels
    across = min(across, 16)
    down = -(-len(tiles) // across)
    figure = new_figure(min(0.75 * across + 1.4, 10), min(0.75 * down + 0.9, 10))
    panels = figure.subplots(down, across, squeeze=False).ravel()
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.02, hspace=0.02)
    reach = float(np.abs(weights).max()) or 1.0
    image = None
    for panel in panels:
        panel.set_axis_off()
    for panel, tile in zip(panels, tiles, strict=False):
        if colour:
            panel.imshow(np.moveaxis(tile / reach, 0, 2) / 2 + 0.5, interpolation="nearest")
        else:
            look = {"cmap": "RdBu_r", "vmin": -reach, "vmax": reach, "interpolation": "nearest"}
            image = panel.imshow(tile[0], **look)
    if image is not None:
        bar = figure.colorbar(image, ax=panels.tolist(), shrink=0.8, aspect=24, pad=0.02)
        bar.ax.tick_params(labelsize=7.5, colors=INK)
        bar.set_label("weight", fontsize=8.5, color=INK)
        bar.outline.set_visible(False)
    if title:
        figure.suptitle(title, fontsize=10, color=INK, parse_math=False)
    return figure
