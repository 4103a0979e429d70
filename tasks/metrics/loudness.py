"""Loudness as ITU-R BS.1770-4 measures it, of clips, and how far a reconstruction's is from its original's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...tokenizers.spec import SignalSpec
from .config import sound_rate
from .interface import PairMetric, check_waves, where_finite

GATE = -70.0  # LUFS below which a block counts as silence
_BLOCK_SECONDS, _BLOCKS_PER_STEP = 0.4, 4
_RELATIVE_GATE = -10.0
_OFFSET = -0.691


def integrated_loudness(wave: Tensor, rate: int) -> Tensor:
    """Integrated loudness in LUFS of clips `[B, C, N]` of one or two channels, `[B]` float64: blocks of 400 ms, a
    quarter apart, gated at -70 LUFS and 10 LU under their mean. NaN where all of a clip is below -70, and for clips of
    less than 400 ms.
    """
    from torchaudio.functional import lfilter

    size = round(_BLOCK_SECONDS * rate)
    if wave.shape[-1] < size:
        return wave.new_full((len(wave),), torch.nan, dtype=torch.float64)
    weighted = wave.double()
    for numerator, denominator in k_weighting(rate):
        # Without clamp=False what is filtered would be cut at full scale.
        weighted = lfilter(weighted, weighted.new_tensor(denominator), weighted.new_tensor(numerator), clamp=False)
    energy = weighted.square().unfold(-1, size, round(size / _BLOCKS_PER_STEP)).mean(-1).sum(1)  # [B, blocks]
    heard = _level(energy) > GATE
    loud = heard & (_level(energy) > (_level(_mean(energy, heard)) + _RELATIVE_GATE)[:, None])
    return _level(_mean(energy, loud))


def k_weighting(rate: int) -> tuple[tuple[list[float], list[float]], ...]:
    """The standard's two filters as (numerator, denominator): a shelf and a high pass, at any rate (De Man 2018); at
    48 kHz they are the standard's coefficients."""
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band, a0 = high**0.4996667741545416, 1 + k / q + k * k
    shelf = [(high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0]
    shelf_poles = [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0]
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    a0 = 1 + k / q + k * k
    return (shelf, shelf_poles), ([1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0])


def _level(energy: Tensor) -> Tensor:
    return _OFFSET + 10 * energy.log10()


def _mean(energy: Tensor, counted: Tensor) -> Tensor:
    """The mean of those that count; NaN where none does."""
    return torch.where(counted, energy, 0).sum(-1) / counted.sum(-1)


class LoudnessDifference(PairMetric):
    """See `LoudnessDifferenceConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        check_waves(self.config.kind, reconstruction, original)
        rate = sound_rate(signal)
        ours, theirs = (integrated_loudness(x.detach().cpu(), rate) for x in (reconstruction, original))
        return where_finite((ours.nan_to_num(nan=GATE) - theirs).abs(), reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        return (
            f"|difference| of integrated loudness, ITU-R BS.1770-4 at {sound_rate(signal)} Hz; mean over clips; "
            f"originals below {GATE:g} LUFS missing, reconstructions count as {GATE:g}"
        )
