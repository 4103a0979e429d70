"""SSIM of pairs of images, ours against pytorch-msssim and torchmetrics: `python -P tests/perf/ssim.py [pairs] [px]`.

The same uint8 pairs, interleaved, medians. torchmetrics averages over a reflected border too, hence its difference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from latentbench.tasks.metrics.ssim import ssim

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved


def pytorch_msssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    from pytorch_msssim import ssim as theirs

    parts = zip(x.split(100), y.split(100), strict=True)
    return torch.cat([theirs(a.float(), b.float(), data_range=255, size_average=False) for a, b in parts])


def torchmetrics(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure as theirs

    parts = zip(x.split(100), y.split(100), strict=True)
    return torch.cat([theirs(a.float(), b.float(), data_range=255.0, reduction="none") for a, b in parts])


def main(pairs: int = 1000, size: int = 64, rounds: int = 5) -> None:
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(pairs, 3, 8, 8), (size, size), mode="bilinear") * 255
    x = smooth.round().to(torch.uint8)
    y = (smooth + 10 * torch.randn_like(smooth)).round().clamp(0, 255).to(torch.uint8)
    runs: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: ssim(x, y, data_range=255),
        "pytorch-msssim": lambda: pytorch_msssim(x, y),
        "torchmetrics": lambda: torchmetrics(x, y),
    }
    medians, values = interleaved(runs, rounds)
    ours = medians["ours"]
    print(f"SSIM, {pairs} pairs of {size} px, 3 channels, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        apart = float((values[name] - values["ours"]).abs().max())
        print(f"{name:16s} {pairs / median:8.0f} pairs/s  x{median / ours:5.1f}  largest difference {apart:.1e}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
