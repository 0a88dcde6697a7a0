"""What `nnexp explain` tells of beside the names in a config."""

from __future__ import annotations

TOPICS = {
    "layers": (
        "How a layer is named where a setting goes by layer, as in `layers: {output: 0.1}`.\n\n"
        "By its place among the layers with weights: `first`, `hidden` (all but the last) or "
        "`output` (the last).\n\n"
        "By its number (`0` is the first layer; those without weights count, too), its component "
        "(`linear`), or both (`0.linear`), as in the names of the tensors in model.safetensors: an "
        "mlp with one hidden layer is 0.linear, 1.relu, 2.linear.\n\n"
        "`*` and `?` stand for any characters: `conv*`. Where several entries fit a layer, the "
        "last one counts. A name that fits no layer is refused, with those that there are.\n\n"
        "`regularization.l2: {coefficient: 1e-3, layers: {output: 0}}` leaves the output layer "
        "alone; `optimizer: {name: adam, layers: {first: 0.1}}` trains the first layer slowly; "
        "`initialization: {name: he_normal, layers: {output: {name: normal, std: 0.01}}}` starts "
        "the last one small."
    ),
}
"""By name: a sentence, and after it paragraphs."""
