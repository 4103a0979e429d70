"""Features of many signals, streamed through a feature net."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .chunks import Chunks, Rows
from .interface import FeatureNet
from .precision import computing_in


def collect(net: FeatureNet, batches: Iterable[Tensor], *, chunks: Chunks | None = None) -> Tensor:
    """Features `[N, dim]` float32 on the CPU of all `batches` (`[B, C, *shape]` each, on the net's device).

    Runs in full float32 (no autocast, no TF32) unless the net is set to another precision. Holds one batch of signals
    at a time, and fetches features from a device many batches at a time.
    With `chunks` the batches are those behind the samples that these have, and the features those of all.
    """
    rows = Rows()
    with torch.inference_mode():
        for batch in batches:
            with computing_in("float32", batch.device):
                features = net(batch).float()
            if chunks is None:
                rows.add({"features": features})
            else:
                chunks.add(len(features), {"features": features}, {})
    collected = rows.joined() if chunks is None else chunks.rows()
    return collected.get("features", torch.zeros(0, net.dim))
