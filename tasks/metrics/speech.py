"""Speech quality and intelligibility: PESQ, STOI and ESTOI, computed by the packages pesq and pystoi, per clip.

What a package can't score (it finds no utterance, or too few frames that are not silent) is a missing value: neither
the exception nor the constant that it would give stands for a score.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from ...tokenizers.spec import SignalSpec
from .config import EstoiConfig, SpeechConfig, StoiConfig, sound_rate
from .interface import PairMetric, check_waves


class SpeechMetric(PairMetric):
    """What the three share: clips become mono, one after the other, on the CPU."""

    config: SpeechConfig

    @abstractmethod
    def score(self, target: np.ndarray, estimate: np.ndarray, rate: int) -> float | None:
        """The score of `estimate` `[N]` float64 for `target` `[N]`, both at `rate` Hz; None where there is none."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        check_waves(self.config.kind, reconstruction, original)
        rate = sound_rate(signal)
        if original.shape[-1] < self.config.least_seconds * rate:
            return torch.full((len(original),), torch.nan, dtype=torch.float64)
        estimates, targets = (self._prepared(x, rate) for x in (reconstruction, original))
        scores = [self._checked(t, e, rate) for t, e in zip(targets, estimates, strict=True)]
        return torch.tensor([float("nan") if score is None else score for score in scores], dtype=torch.float64)

    def _prepared(self, x: Tensor, rate: int) -> np.ndarray:
        return x.detach().double().mean(1).cpu().numpy()

    def _checked(self, target: np.ndarray, estimate: np.ndarray, rate: int) -> float | None:
        if not (np.isfinite(target).all() and np.isfinite(estimate).all() and target.any()):
            return None
        score = self.score(target, estimate, rate)
        return None if score is None or not np.isfinite(score) else float(score)


class Pesq(SpeechMetric):
    """See `PesqConfig`."""

    def _prepared(self, x: Tensor, rate: int) -> np.ndarray:
        from torchaudio.functional import resample

        mono = x.detach().double().mean(1).cpu()
        heard = _band(rate)[1]
        return np.asarray(mono if rate == heard else resample(mono, rate, heard))

    def score(self, target: np.ndarray, estimate: np.ndarray, rate: int) -> float | None:
        from pesq import BufferTooShortError, NoUtterancesError, pesq

        mode, heard, _ = _band(rate)
        try:
            return float(pesq(heard, target, estimate, mode))
        except (BufferTooShortError, NoUtterancesError, ValueError):  # the last where the estimate is silent
            return None

    def protocol(self, signal: SignalSpec) -> str:
        _, heard, standard = _band(rate := sound_rate(signal))
        resampled = "" if rate == heard else f"; from {rate} Hz by torchaudio's resample (Hann-windowed sinc, width 6)"
        return f"{standard} at {heard} Hz, package pesq; mono{resampled}; mean over clips; no utterance: missing"


class Stoi(SpeechMetric):
    """See `StoiConfig` and `EstoiConfig`."""

    def score(self, target: np.ndarray, estimate: np.ndarray, rate: int) -> float | None:
        from pystoi import stoi

        assert isinstance(self.config, StoiConfig | EstoiConfig)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            value = float(stoi(target, estimate, rate, extended=self.config.extended))
        return None if any("Not enough STFT frames" in str(warning.message) for warning in told) else value

    def protocol(self, signal: SignalSpec) -> str:
        rate = sound_rate(signal)
        resampled = "" if rate == 10_000 else f" from {rate} Hz by its own resample_oct"
        return (
            f"{self.config.kind.upper()}, package pystoi at 10000 Hz{resampled}; mono; mean over clips; fewer than 30 "
            "frames that are not silent: missing"
        )


def _band(rate: int) -> tuple[str, int, str]:
    """PESQ's mode, rate and standard for clips at `rate` Hz: wide band from 16 kHz on."""
    if rate < 16_000:
        return "nb", 8_000, "PESQ narrow band (ITU-T P.862.1)"
    return "wb", 16_000, "PESQ wide band (ITU-T P.862.2)"
