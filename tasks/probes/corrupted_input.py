"""How well a tokenizer reconstructs a signal with missing patches (denoising autoencoder, A4)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.corruptions.mask import Mask
from ..priors.noise import generator
from .interface import Probe, ProbeInput

RATIO = 0.3
# Patches per axis, by the number of axes: what one latent position covers in most recipes.
_PATCHES = {1: 16, 2: 4, 3: 4}
_CAP = 1e-10


class CorruptedInput(Probe):
    """See `CorruptedInputConfig`."""

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        scores: dict[str, list[Tensor]] = {}
        patch = [max(1, size // _PATCHES[len(probed.signal.shape)]) for size in probed.signal.shape]
        for indices, x in probed.signals():
            keep = drawn_mask(probed.seed, indices.tolist(), x, patch)
            decoded = probed.decode(probed.tokenizer.encode(x * keep))
            for name, values in corruption_scores(x, keep, decoded).items():
                scores.setdefault(name, []).append(values.double().cpu())
        what = {
            "psnr_corrupted": "of decode(encode(masked x)) against x",
            "psnr_inpainted": "the same inside the masked patches",
            "psnr_mean_fill": "of each sample's mean per channel over what is visible, inside the masked patches",
            "inpainting_gain": "psnr_inpainted - psnr_mean_fill, sample by sample",
        }
        shape = "x".join(map(str, patch))
        line = f"mean of per-sample PSNR, range 2; {RATIO:.0%} of the patches of {shape} set to 0"
        return tuple(
            Metric.from_samples(
                name,
                torch.cat(scores[name]).tolist(),
                direction="none" if name == "psnr_mean_fill" else "higher",
                unit="dB",
                protocol=f"{line}; {text}; validation split",
            )
            for name, text in what.items()
        )


def drawn_mask(seed: int, indices: list[int], like: Tensor, patch: list[int]) -> Tensor:
    """`[B, 1, *signal]`, 0 where hidden: `Mask`'s, drawn by sample so that batches make no difference."""
    mask = Mask(patch, ratio=RATIO)
    rows = []
    for index in indices:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(seed, index).integers(1 << 62)))
            rows.append(mask.draw(like[:1].cpu()))
    return torch.cat(rows).to(like)


def corruption_scores(x: Tensor, keep: Tensor, decoded: Tensor) -> dict[str, Tensor]:
    """Scores by name, `[B]` each, of reconstructions `decoded` of masked signals; `keep` `[B, 1, *signal]` is 0 where
    `x` `[B, C, *signal]` was hidden."""
    keep = keep.expand_as(x)
    axes = tuple(range(2, x.ndim))
    mean = (x * keep).sum(axes, keepdim=True) / keep.sum(axes, keepdim=True).clamp_min(1)
    inpainted, filled = _decibels(decoded - x, 1 - keep), _decibels(mean - x, 1 - keep)
    return {
        "psnr_corrupted": _decibels(decoded - x, torch.ones_like(x)),
        "psnr_inpainted": inpainted,
        "psnr_mean_fill": filled,
        "inpainting_gain": inpainted - filled,
    }


def _decibels(error: Tensor, where: Tensor) -> Tensor:
    squares = (error.square() * where).flatten(1).double().sum(1) / where.flatten(1).double().sum(1)
    return 10 * torch.log10(4 / squares.clamp_min(4 * _CAP))
