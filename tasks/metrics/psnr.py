"""Peak signal-to-noise ratio, and the rounding to uint8 that precedes it for images and video."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from scipy.special import stdtrit
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from ...tokenizers.spec import Modality, SignalSpec
from .frames import per_frame
from .interface import PairMetric, where_finite
from .jackknife import wilson

CAP_DB = 100.0


def to_uint8(x: Tensor) -> Tensor:
    """Signals in [-1, 1] to uint8 0..255: scaled, rounded (not floored) and clamped. Any shape."""
    return x.float().add(1.0).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)


def psnr(x: Tensor, y: Tensor, *, data_range: float | None = None) -> Tensor:
    """10 log10(range² / mean squared error) in dB for each sample: `[B, ...]` twice to `[B]` float64.

    `data_range` is by default 2 for floats (signals in [-1, 1]) and 255 for uint8. Capped at 100 dB, so that equal
    signals have a value. Raises UserError on different shapes or dtypes.
    """
    if x.shape != y.shape or x.dtype != y.dtype:
        raise UserError(f"psnr: the two signals differ: {list(x.shape)} {x.dtype} and {list(y.shape)} {y.dtype}")
    if data_range is None:
        data_range = 2.0 if x.is_floating_point() else 255.0
    error = (x.float() - y.float()).flatten(1)
    mse = torch.linalg.vector_norm(error, dim=1).double().square() / error.shape[1]
    return 10 * torch.log10(data_range**2 / mse.clamp_min(data_range**2 * 10 ** (-CAP_DB / 10)))


def interval_with_cap(values: Tensor) -> tuple[float, float] | None:
    """The 95 % interval of the mean of PSNRs `[N]`, some of which may lie at the cap; None for fewer than two.

    A few samples without an error lie 50 dB above the rest, and the mean depends on their share far more than on
    anything else. The share has Wilson's interval, the others' mean Student's; both are combined as in Zou and Donner
    2008 (MOVER). Without such samples, or without two others, it is Student's of all.
    """
    n = len(values)
    if n < 2:
        return None
    mean = float(values.mean())
    others = values[values < CAP_DB]
    capped = n - len(others)
    if capped == 0 or len(others) < 2:
        half = float(stdtrit(n - 1, 0.975)) * float(values.std()) / math.sqrt(n)
        return mean - half, mean + half
    share, distance = capped / n, CAP_DB - float(others.mean())
    low, high = wilson(share, n)
    scatter = len(others) / n * float(stdtrit(len(others) - 1, 0.975)) * float(others.std()) / math.sqrt(len(others))
    below, above = math.hypot((share - low) * distance, scatter), math.hypot((high - share) * distance, scatter)
    return mean - below, min(CAP_DB, mean + above)


def of_clips(values: Tensor) -> dict[str, Tensor]:
    """PSNR of frames `[N, T]` as one number a clip, `[N]`: of its first frame, and of its worst."""
    return {"psnr_first": values[:, 0], "psnr_worst_frame": values.amin(1)}


class Psnr(PairMetric):
    """See `PsnrConfig`."""

    def summary(self, values: Tensor, signal: SignalSpec) -> Metric:
        metric = super().summary(values, signal)
        per_sample = torch.nanmean(values.double(), dim=1) if values.ndim == 2 else values.double()
        return replace(metric, interval=interval_with_cap(per_sample[torch.isfinite(per_sample)]))

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        pair = (reconstruction, original)
        if not signal.modality.is_audio:
            pair = (to_uint8(reconstruction), to_uint8(original))
        values = per_frame(psnr, *pair) if signal.modality is Modality.VIDEO else psnr(*pair)
        return where_finite(values, reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        if signal.modality.is_audio:
            of = "log-mel in [-1, 1]" if signal.modality is Modality.SPECTROGRAM else "waveforms in [-1, 1]"
            return f"mean of per-sample PSNR of {of}; range 2; not rounded; capped at {CAP_DB:.0f} dB"
        per = "frame" if signal.modality is Modality.VIDEO else "image"
        return f"mean of per-{per} PSNR; uint8 by rounding and clamping; range 255; capped at {CAP_DB:.0f} dB"

    def clip_summary(self, name: str, values: Tensor, signal: SignalSpec) -> Metric:
        """One of `of_clips`, `[N]`, as a metric that tables show when asked."""
        which = {"psnr_first": "the first frame", "psnr_worst_frame": "each clip's worst frame"}[name]
        protocol = f"mean over clips of the PSNR of {which}; {self.protocol(signal).partition('; ')[2]}"
        return replace(self.summary(values, signal), name=name, protocol=protocol, shown="asked")
