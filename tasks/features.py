"""Features of many signals, streamed through a feature net."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .chunks import Chunks
from .interface import FeatureNet
from .precision import computing_in


def collect(net: FeatureNet, batches: Iterable[Tensor], *, chunks: Chunks | None = None) -> Tensor:
    """Features `[N, dim]` float32 on the CPU of all `batches` (`[B, C, *shape]` each, on the net's device).

    Runs in full float32 (no autocast, no TF32) unless the net is set to another precision. Holds one batch at a time.
    With `chunks` the batches are those behind the samples that these have, and the features those of all.
    """
    parts: list[Tensor] = []
    with torch.inference_mode():
        for batch in batches:
            with computing_in("float32", batch.device):
                features = net(batch).float().cpu()
            if chunks is None:
                parts.append(features)
            else:
                chunks.add(len(features), {"features": features}, {})
    if chunks is not None:
        return chunks.rows().get("features", torch.zeros(0, net.dim))
    return torch.cat(parts) if parts else torch.zeros(0, net.dim)
