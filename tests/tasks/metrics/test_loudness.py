"""Loudness beside pyloudnorm, on real clips, and at its ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.metrics.config import LoudnessDifferenceConfig
from latentbench.tasks.metrics.loudness import integrated_loudness, k_weighting
from latentbench.tokenizers.spec import Modality, SignalSpec


def difference(estimate: Tensor, target: Tensor, rate: int) -> list[float]:
    shape = (target.shape[-1],)
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=target.shape[1], shape=shape, rate=float(rate))
    values: Tensor = LoudnessDifferenceConfig().build().values(estimate, target, signal)
    return values.tolist()


def test_a_tone_of_997_hz_has_the_standard_s_loudness() -> None:
    """BS.1770: a full-scale 997 Hz tone on one front channel is at -3.01 LUFS, on both at 0; 20 dB less are 20 LU."""
    tone = torch.sin(2 * math.pi * 997 * torch.arange(96_000) / 48_000)
    one, two = tone.view(1, 1, -1), tone.expand(1, 2, -1)
    assert integrated_loudness(one, 48_000).item() == pytest.approx(-3.01, abs=0.005)
    assert integrated_loudness(two, 48_000).item() == pytest.approx(0.0, abs=0.005)
    assert difference(one * 0.1, one, 48_000) == pytest.approx([20.0], abs=1e-6)


def test_at_48_khz_the_filters_are_the_standard_s_tables() -> None:
    (shelf, shelf_poles), (high_pass, poles) = k_weighting(48_000)
    assert shelf == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-10)
    assert shelf_poles == pytest.approx([1.0, -1.69065929318241, 0.73248077421585], abs=1e-10)
    assert high_pass == [1.0, -2.0, 1.0]
    assert poles == pytest.approx([1.0, -1.99004745483398, 0.99007225036621], abs=1e-10)


CLIPS = ["lyra_speech/sample1_48kHz.wav", "sonic_pi/loop_amen.flac", "fsdd/recordings/3_george_0.wav"]


@pytest.mark.parametrize("name", CLIPS)
def test_real_clips_equal_pyloudnorm(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]], name: str
) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm")
    wave, rate = read_audio(shared_data / "audio" / name)
    wave = wave[..., : wave.shape[-1] // (rate // 10) * (rate // 10)][..., : 2 * rate]  # whole blocks: no rounding
    gained = torch.cat([wave, 0.25 * wave, 3.0 * wave])
    ours = integrated_loudness(gained, rate).tolist()
    # "DeMan" is the standard's filters; pyloudnorm's default rounds their frequencies and gain.
    for filters, tolerance in (("DeMan", 1e-6), ("K-weighting", 0.3)):
        meter = pyloudnorm.Meter(rate, filter_class=filters)
        expected = [meter.integrated_loudness(np.asarray(clip.double().T)) for clip in gained]
        assert ours == pytest.approx(expected, abs=tolerance)


def test_pauses_do_not_count_and_silence_is_missing() -> None:
    noise = 0.1 * torch.randn(1, 1, 16_000)
    paused = torch.cat([noise, torch.zeros(1, 1, 48_000)], dim=-1)
    apart = integrated_loudness(paused, 16_000) - integrated_loudness(noise, 16_000)
    assert apart.abs().item() < 1.5  # a gate of 10 LU leaves in the blocks that hold some noise
    silent = torch.zeros_like(noise)
    assert math.isnan(difference(noise, silent, 16_000)[0])
    loud = integrated_loudness(noise, 16_000).item()
    assert difference(silent, noise, 16_000) == pytest.approx([loud + 70], abs=1e-9)
