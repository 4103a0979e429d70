"""Pitch by YIN: tones whose pitch is known, the paper's equations frame by frame on speech, and what has no pitch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.metrics.config import PitchErrorConfig
from latentbench.tasks.metrics.pitch import pitch
from latentbench.tokenizers.spec import Modality, SignalSpec


def voice(hertz: float, rate: int, seconds: float = 0.3) -> Tensor:
    """`[1, N]`: eight harmonics, the second the loudest."""
    t = torch.arange(int(rate * seconds), dtype=torch.float64) / rate
    parts = [math.exp(-((k - 2) ** 2) / 4) * torch.sin(2 * math.pi * k * hertz * t + k) for k in range(1, 9)]
    return 0.1 * torch.stack(parts).sum(0)[None]


def error(estimate: Tensor, target: Tensor, rate: int) -> float:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(target.shape[-1],), rate=float(rate))
    values: Tensor = PitchErrorConfig().build().values(estimate[:, None], target[:, None], signal)
    return values.item()


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("hertz", [71.3, 123.4, 217.0, 431.7])
def test_a_voice_s_pitch_is_its_fundamental(hertz: float, rate: int) -> None:
    measured = pitch(voice(hertz, rate), rate)
    cents = 1200 * (measured / hertz).log2()
    assert bool(measured.isfinite().all())
    assert float(cents.abs().max()) < (20 if rate == 8000 else 5)


def test_the_error_of_a_shift_is_the_shift() -> None:
    shifted = error(voice(150 * 2 ** (1 / 12), 16000), voice(150, 16000), 16000)
    assert shifted == pytest.approx(100, abs=3)
    assert error(0.2 * voice(150, 16000), voice(150, 16000), 16000) == pytest.approx(0, abs=1e-6)


def test_noise_silence_and_a_constant_have_no_pitch() -> None:
    noise = torch.randn(1, 4800, generator=torch.Generator().manual_seed(0))
    for x in (noise, torch.zeros(1, 4800), torch.full((1, 4800), 0.3)):
        assert bool(pitch(x, 16000).isnan().all())
    assert math.isnan(error(noise, voice(150, 16000), 16000))


def by_hand(frame: np.ndarray, rate: int) -> float:
    """Eqs. 6 and 8 of the paper as they stand, the first dip below 0.1, and its parabola."""
    size = int(rate / 60)
    d = np.array([np.square(frame[:size] - frame[lag : lag + size]).sum() for lag in range(size + 2)])
    normalised = np.ones(size + 2)
    for lag in range(1, size + 2):
        normalised[lag] = d[lag] * lag / d[1 : lag + 1].sum()
    for lag in range(int(rate / 500), size + 1):
        a, b, c = normalised[lag - 1 : lag + 2]
        if b < 0.1 and b < a and b <= c:
            return rate / (lag + (a - c) / 2 / (a - 2 * b + c))
    return math.nan


def test_speech_equals_the_paper_s_equations(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    wave, rate = read_audio(shared_data / "audio" / "fsdd" / "recordings" / "3_george_0.wav")
    x = wave[0].double()
    measured = pitch(x, rate)[0].numpy()
    size = int(rate / 60)
    frames = [x[0, start : start + 2 * size + 1].numpy() for start in range(0, x.shape[1] - 2 * size, rate // 100)]
    expected = np.array([by_hand(frame, rate) for frame in frames])
    assert len(measured) == len(expected)
    np.testing.assert_allclose(measured, expected, rtol=1e-6, equal_nan=True)
    voiced = expected[~np.isnan(expected)]
    assert len(voiced) > 8
    assert 80 < np.median(voiced) < 250
