"""Whether latents move with the signal: encoding what was turned or shifted, and decoding turned or shifted latents
(EQ-VAE, B7; Kouzelis et al. 2025, arXiv 2502.09509)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.spec import Modality
from ..metrics.config import PsnrConfig
from ..metrics.psnr import Psnr
from .interface import Probe, ProbeInput, channels

# By name: what is done to the signal, and to the latents, `[B, C, *axes]` each.
Pair = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


class EquivarianceProbe(Probe):
    """See `EquivarianceProbeConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if not probed.has_values():
            return "the latents are codes without values"
        if probed.spec.topology != "grid" or len(probed.spec.grid.shape) != probed.signal.modality.rank:
            return "the latents do not lie on the signal's axes"
        if not pairs(probed):
            return "the latent grid can't be shifted or turned as the signal can"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        changes, psnr = pairs(probed), Psnr(PsnrConfig())
        errors: dict[str, list[Tensor]] = {name: [] for name in changes}
        psnrs: list[Tensor] = []
        moments = probed.latents.moments[0]
        assert moments is not None
        for _, x in probed.signals():
            z = probed.tokenizer.encode(x)
            scores = []
            for name, (of_signal, of_latent) in changes.items():
                turned = of_signal(x)
                expected, moved = probed.tokenizer.encode(turned).values, z.values
                assert expected is not None
                assert moved is not None
                errors[name].append(equivariance_error(of_latent(moved), expected, moments).cpu())
                decoded = probed.decode(probed.changed(z, partial(_by_values, of_latent)))
                one = psnr.values(decoded, turned, probed.signal)
                scores.append(one.double().mean(1) if one.ndim == 2 else one.double())
            psnrs.append(torch.stack(scores).mean(0).cpu())
        line = "‖τE(x) - E(τx)‖² / ‖E(τx)‖² per sample, z normalised per channel by the training split"
        each = {name: torch.cat(parts) for name, parts in errors.items()}
        metrics = [_error(f"equivariance_error_{name}", values, f"{line}; τ: {name}") for name, values in each.items()]
        mean = torch.stack(list(each.values())).mean(0)
        names = " and ".join(each)
        metrics.append(_error("equivariance_error", mean, f"{line}; mean over τ: {names}"))
        protocol = f"{psnr.protocol(probed.signal)}; decode(τE(x)) against τx, mean over τ: {names}; validation split"
        values = torch.cat(psnrs).tolist()
        metrics.append(
            Metric.from_samples("psnr_equivariant", values, direction="higher", unit="dB", protocol=protocol)
        )
        return tuple(metrics)


def pairs(probed: ProbeInput) -> dict[str, Pair]:
    """The changes that these signals and latents allow, by name.

    A shift is circular, by what one latent position covers along the last axis (time for sounds and spectrograms, width
    for pictures); a turn is by 90 degrees, of square pictures with square grids.
    """
    shape, grid = probed.signal.shape, probed.spec.grid.shape
    changes: dict[str, Pair] = {}
    if grid[-1] > 1 and shape[-1] % grid[-1] == 0:
        step = shape[-1] // grid[-1]
        changes["shift"] = (lambda x: x.roll(step, -1), lambda z: z.roll(1, -1))
    picture = probed.signal.modality in (Modality.IMAGE, Modality.VIDEO)
    if picture and shape[-1] == shape[-2] and grid[-1] == grid[-2] > 1:
        changes["rotation"] = (_turned, _turned)
    return changes


def equivariance_error(moved: Tensor, expected: Tensor, moments: tuple[Tensor, Tensor]) -> Tensor:
    """‖moved - expected‖² / ‖expected‖² of normalised latents `[B, C, *grid]`: `[B]` float64."""
    mean, std = (channels(m, expected) for m in moments)
    apart = ((moved - expected) / std).flatten(1).double().square().sum(1)
    return apart / ((expected - mean) / std).flatten(1).double().square().sum(1)


def _by_values(change: Callable[[Tensor], Tensor], values: Tensor, number: int) -> Tensor:
    return change(values)


def _turned(x: Tensor) -> Tensor:
    return x.rot90(1, (-2, -1))


def _error(name: str, values: Tensor, protocol: str) -> Metric:
    return Metric.from_samples(name, values.tolist(), direction="lower", protocol=f"{protocol}; validation split")
