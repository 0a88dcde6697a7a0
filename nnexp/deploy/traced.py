"""Networks with layers that nnexp does not write itself, by torch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

from nnexp.deploy.graph import OPSET, needed
from nnexp.deploy.module import Network
from nnexp.errors import UsageError
from nnexp.lazy import torch


def traced(network: Network, layers: Sequence[str]) -> Any:
    """The network as an ONNX model of one input and one output.

    layers: those that nnexp has no form for. UsageError if torch has none either.
    """
    needed("onnxscript")
    one = torch.zeros((2, *network.shape))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = torch.onnx.export(
                network.float(),
                (one,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"{', '.join(layers)}: has no form in ONNX: {reason}") from None
    assert found is not None
    return found.model_proto
