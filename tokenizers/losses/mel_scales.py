"""The multi-scale mel distance of DAC (Kumar et al. 2023, arXiv 2306.06546, section 3.4 and appendix).

Shape legend: B batch, C channels, N samples, F frequency bins, M mel bins, T frames.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from ..spec import SignalSpec
from .base import Loss
from .mel_scales_config import MelScalesConfig
from .stft import fit_sizes, magnitudes

# Mel magnitudes below this count as silence; the logarithm is to base 10, as DAC's.
FLOOR = 1e-5


class MelScales(Loss):
    """See `mel_scales_distance`, at the signal's sample rate."""

    def __init__(self, config: MelScalesConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.rate = signal.rate or 16000.0
        self._banks: dict[tuple[int, torch.device], tuple[tuple[tuple[int, int], ...], list[Tensor]]] = {}

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        length, device = signal.shape[-1], signal.device
        if (length, device) not in self._banks:  # a regulariser may compare shorter signals
            sizes, filters = scales(length, self.rate, self.config.windows, self.config.mels)
            self._banks[length, device] = sizes, [bank.to(device) for bank in filters]
        sizes, filters = self._banks[length, device]
        return mel_scales_distance(reconstruction, signal, sizes=sizes, filters=filters)


def scales(
    length: int, rate: float, windows: tuple[int, ...], mels: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], list[Tensor]]:
    """The (window, hop) pairs for signals of `length` samples at `rate` Hz, and their mel filters `[M, F]`.

    Filters are Slaney's: his mel scale, each of unit area (librosa's default, which DAC uses). Windows are halved until
    they fit the signal, and their filters with them: a short window has too few bins for a long one's. Of several that
    become one, the first is kept.
    """
    chosen: dict[tuple[int, int], int] = {}
    for window, bins in zip(windows, mels, strict=True):
        (fitted,) = fit_sizes(length, [(window, window // 4)])
        chosen.setdefault(fitted, max(1, bins * fitted[0] // window))
    return tuple(chosen), [slaney_filters(window, bins, rate) for (window, _), bins in chosen.items()]


def slaney_filters(window: int, bins: int, rate: float) -> Tensor:
    """Triangular mel filters of unit area on Slaney's scale: `[M, F]`. Some are empty where bins outnumber bands."""
    from torchaudio.functional import melscale_fbanks

    with warnings.catch_warnings():  # of empty filters, which count as silence on both sides
        warnings.simplefilter("ignore", UserWarning)
        filters: Tensor = melscale_fbanks(
            window // 2 + 1, 0.0, rate / 2, bins, int(rate), norm="slaney", mel_scale="slaney"
        )
    return filters.T.contiguous()


def mel_scales_distance(x: Tensor, y: Tensor, *, sizes: tuple[tuple[int, int], ...], filters: list[Tensor]) -> Tensor:
    """Mean over resolutions of mean |log10 mel(x) - log10 mel(y)|: `[B, C, N]` twice to `[B]`.

    Mel magnitudes are sums of filtered magnitudes (not powers), at least 1e-5. Raises UserError for signals under 4
    samples.
    """
    total = x.new_zeros(len(x))
    for size, bank, mine, target in zip(sizes, filters, magnitudes(x, sizes), magnitudes(y, sizes), strict=True):
        assert size[0] // 2 + 1 == bank.shape[1]
        logs = [torch.matmul(bank, m.float()).clamp_min(FLOOR).log10() for m in (mine, target)]
        total = total + (logs[0] - logs[1]).abs().flatten(1).mean(1)
    return total / len(sizes)
