"""Features of many signals, streamed through a feature net."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .chunks import Chunks
from .interface import FeatureNet


def collect(net: FeatureNet, batches: Iterable[Tensor], *, chunks: Chunks | None = None) -> Tensor:
    """Features `[N, dim]` float32 on the CPU of all `batches` (`[B, C, *shape]` each, on the net's device).

    Runs in full float32: no autocast, and no TF32 convolutions or matrix products on a GPU. Holds one batch at a time.
    With `chunks` the batches are those behind the samples that these have, and the features those of all.
    """
    parts: list[Tensor] = []
    with torch.inference_mode(), _without_tf32():
        for batch in batches:
            with torch.autocast(batch.device.type, enabled=False):
                features = net(batch).float().cpu()
            if chunks is None:
                parts.append(features)
            else:
                chunks.add(len(features), {"features": features}, {})
    if chunks is not None:
        return chunks.rows().get("features", torch.zeros(0, net.dim))
    return torch.cat(parts) if parts else torch.zeros(0, net.dim)


@contextmanager
def _without_tf32() -> Iterator[None]:
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, conv.allow_tf32
    matmul.allow_tf32 = conv.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, conv.allow_tf32 = before
