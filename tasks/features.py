"""Features of many signals, streamed through a feature net."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from .chunks import FETCHED, Rows
from .interface import BatchSource, FeatureNet, slices
from .partial_files import PartialFiles
from .precision import computing_in


def collect(net: FeatureNet, batches: Iterable[Tensor]) -> Tensor:
    """Features `[N, dim]` float32 on the CPU of all `batches` (`[B, C, *shape]` each, on the net's device).

    Runs in full float32 (no autocast, no TF32) unless the net is set to another precision. Holds one batch of signals
    at a time, and fetches features from a device many batches at a time.
    """
    rows = Rows()
    with torch.inference_mode():
        for batch in batches:
            with computing_in("float32", batch.device):
                rows.add({"features": net.features(batch)})
    return rows.joined().get("features", torch.zeros(0, net.dim))


@torch.inference_mode()
def write_features(
    net: FeatureNet,
    split: BatchSource,
    folder: Path,
    *,
    device: torch.device,
    batch_size: int,
    progress: Callable[[int, int, str], None],
) -> None:
    """Features `[N, dim]` float32 of all samples of `split`, as `features.npy` in `folder`.

    Memory holds some batches' features, however many samples there are. A call that was ended goes on from the rows
    that are safe. Raises UserError when the disk is full.
    """
    total = len(split)
    files = PartialFiles(folder, "features", total, resume=True)
    if files.finished:
        return
    rows = Rows()
    try:
        for number, indices in enumerate(slices(split, total, batch_size, start=files.done), start=1):
            batch = split.batch(indices, device)
            with computing_in("float32", device):
                rows.add({".npy": net.features(batch)})
            done = int(indices[-1]) + 1
            if device.type == "cpu" or number % FETCHED == 0 or done == total:
                files.append({".npy": rows.joined()[".npy"].numpy()})
                rows = Rows()
            progress(done, total, "features")
        files.finish()
    finally:
        files.close()
