"""How fast a decoder loses the signal when its latents are disturbed, as a prior's errors disturb them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.config import PsnrConfig
from ..metrics.psnr import Psnr
from ..priors.noise import normal
from .interface import Probe, ProbeInput, channels

SCALES = (0.1, 0.2, 0.5)


class LatentNoise(Probe):
    """See `LatentNoiseConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if probed.spec.discrete:
            return "a prior of codes is right or wrong, and makes no small errors"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        psnr, signal = Psnr(PsnrConfig()), probed.signal
        rows = []
        for indices, x in probed.signals():
            latents = probed.tokenizer.encode(x)
            levels = [
                normal(probed.seed, indices.tolist(), (grid.channels, *grid.shape), stream=number).to(probed.device)
                for number, grid in enumerate(probed.spec.grids)
            ]

            scores = []
            for scale in (0.0, *SCALES):
                moved = probed.changed(
                    latents, partial(noisy, scale=scale, noise=levels, moments=probed.latents.moments)
                )
                values = psnr.values(probed.decode(moved), x, signal).double()
                scores.append(values.mean(1) if values.ndim == 2 else values)
            rows.append(torch.stack(scores, 1).cpu())
        table = torch.cat(rows)
        line = f"{psnr.protocol(signal)}; decode(z + s σ ε), σ per channel of the training split, ε from N(0, I)"
        metrics = [
            Metric.from_samples(
                f"psnr_noise_{round(100 * scale)}",
                table[:, column].tolist(),
                direction="higher",
                unit="dB",
                protocol=f"{line}, s = {scale:g}; validation split",
            )
            for column, scale in enumerate(SCALES, start=1)
        ]
        line = f"{line}; least-squares slope of a sample's PSNR over s = {', '.join(f'{s:g}' for s in (0.0, *SCALES))}"
        slope = slopes(torch.tensor((0.0, *SCALES), dtype=torch.float64), table)
        metrics.append(
            Metric.from_samples(
                "noise_slope", slope.tolist(), direction="higher", unit="dB", protocol=f"{line}; validation split"
            )
        )
        return tuple(metrics)


def noisy(
    values: Tensor,
    number: int,
    *,
    scale: float,
    noise: Sequence[Tensor],
    moments: Sequence[tuple[Tensor, Tensor] | None],
) -> Tensor:
    """values + scale σ noise on the grid of that number."""
    known = moments[number]
    assert known is not None  # continuous latents have them
    return values + scale * channels(known[1], values) * noise[number]


def slopes(x: Tensor, y: Tensor) -> Tensor:
    """The least-squares slope of each row of `y` `[N, K]` over `x` `[K]`: `[N]`."""
    centred = x - x.mean()
    return (y - y.mean(1, keepdim=True)) @ centred / centred.square().sum()
