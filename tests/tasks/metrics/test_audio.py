from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.audio import (
    MelDistance,
    SiSdr,
    StftDistance,
    mel_distance,
    metric_mel,
    si_sdr,
    stft_distance,
)
from latentbench.tasks.metrics.config import MelDistanceConfig, SiSdrConfig, StftDistanceConfig
from latentbench.tokenizers.losses.stft import fit_sizes
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

WAVEFORM = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(8000,), rate=16000.0)


def test_si_sdr_equals_torchmetrics() -> None:
    audio = pytest.importorskip("torchmetrics.functional.audio")
    estimate, target = torch.randn(2, 5, 1, 400, dtype=torch.float64)
    estimate = estimate + 3 * target + 0.4
    expected = audio.scale_invariant_signal_distortion_ratio(estimate, target, zero_mean=True)[:, 0]
    assert torch.allclose(si_sdr(estimate, target), expected)


def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_energies() -> None:
    t = torch.arange(1000) / 1000
    target = torch.sin(2 * math.pi * 10 * t).expand(1, 1, -1)
    noise = torch.sin(2 * math.pi * 20 * t).expand(1, 1, -1)
    for scale in (1.0, 0.01, -7.0):
        assert float(si_sdr(scale * (target + 0.1 * noise) + 0.3, target)) == pytest.approx(20.0, abs=1e-3)


def test_si_sdr_has_one_scale_for_all_channels() -> None:
    target = torch.randn(1, 2, 500)
    estimate = target * torch.tensor([1.0, 0.5])[:, None]
    assert float(si_sdr(estimate, target)) < 15
    assert float(si_sdr(target * 0.5, target)) == 100


def test_si_sdr_at_its_ends() -> None:
    target = torch.randn(4, 1, 100)
    target[2] = 0.7
    target[3] = 0
    estimate = target.clone()
    estimate[1] = 0
    estimate[2:] = torch.randn(2, 1, 100)
    values = si_sdr(estimate, target)
    assert values[:2].tolist() == [100.0, -100.0]
    assert bool(values[2:].isnan().all())
    summary = SiSdr(SiSdrConfig()).summary(values, WAVEFORM)
    assert (summary.value, summary.n, summary.missing) == (0.0, 2, 2)


def test_mel_distance_of_a_gain_is_the_gain() -> None:
    x = torch.randn(2, 1, 8000) * 0.1
    mel = MelSpec(sample_rate=16000)
    assert mel_distance(x * 0.5, x, mel=mel).tolist() == pytest.approx([6.0206, 6.0206], abs=1e-3)


def test_mel_parameters_are_stated_and_follow_the_rate() -> None:
    assert metric_mel(WAVEFORM) == MelSpec(sample_rate=16000, n_mels=80, n_fft=1024, hop=256)
    assert "80 HTK mel bins" in MelDistance(MelDistanceConfig()).protocol(WAVEFORM)
    own = MelSpec(sample_rate=16000, n_mels=32)
    spectrogram = SignalSpec(
        modality=Modality.SPECTROGRAM, channels=1, shape=(32, 32), rate=16000.0, mel=own, source_shape=(1, 8000)
    )
    assert metric_mel(spectrogram) is own


def test_stft_protocol_says_which_windows_were_used() -> None:
    assert "512/128, 1024/256, 2048/512" in StftDistance(StftDistanceConfig()).protocol(WAVEFORM)
    short = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(600,), rate=16000.0)
    assert "512/128 and clips" in StftDistance(StftDistanceConfig()).protocol(short)


def test_distances_are_zero_for_equal_signals() -> None:
    x = torch.randn(2, 1, 8000)
    assert StftDistance(StftDistanceConfig()).values(x, x, WAVEFORM).tolist() == [0, 0]
    assert MelDistance(MelDistanceConfig()).values(x, x, WAVEFORM).tolist() == [0, 0]


def test_different_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="si_sdr"):
        si_sdr(torch.zeros(1, 1, 10), torch.zeros(1, 1, 11))


def real_pair(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]], name: str, seconds: float = 0.5
) -> tuple[Tensor, Tensor, int]:
    """A clip, mono `[1, 1, N]`, its neighbour-averaged and noisy version before it, and the rate."""
    wave, rate = read_audio(shared_data / "audio" / name)
    clip = wave.mean(1, keepdim=True)[..., : int(seconds * rate)]
    worse = 0.8 * (clip + clip.roll(1, -1)) / 2 + 0.01 * torch.randn(clip.shape)
    return worse, clip, rate


REAL = ["fsdd/recordings/3_george_0.wav", "lyra_speech/sample2_48kHz.wav", "sonic_pi/loop_amen.flac"]


@pytest.mark.parametrize("name", REAL)
def test_si_sdr_of_real_clips_equals_torchmetrics(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]], name: str
) -> None:
    audio = pytest.importorskip("torchmetrics.functional.audio")
    worse, clip, _ = real_pair(shared_data, read_audio, name)
    ours = si_sdr(worse, clip).item()
    estimate, target = worse.double(), clip.double()
    sdr = audio.scale_invariant_signal_distortion_ratio(estimate, target, zero_mean=True).item()
    assert ours == pytest.approx(sdr, abs=1e-6)
    assert ours == pytest.approx(audio.scale_invariant_signal_noise_ratio(estimate, target).item(), abs=1e-6)
    assert 3 < ours < 60


@pytest.mark.parametrize("name", REAL)
def test_stft_distance_of_real_clips_equals_auraloss(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]], name: str
) -> None:
    freq = pytest.importorskip("auraloss.freq")
    worse, clip, _ = real_pair(shared_data, read_audio, name)
    sizes = fit_sizes(clip.shape[-1])
    theirs = freq.MultiResolutionSTFTLoss([w for w, _ in sizes], [h for _, h in sizes], [w for w, _ in sizes])
    assert stft_distance(worse, clip).item() == pytest.approx(theirs(worse, clip).item(), rel=1e-4)


@pytest.mark.parametrize("name", REAL)
def test_mel_distance_of_real_clips_equals_transformers_numpy_spectrogram(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]], name: str
) -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    worse, clip, rate = real_pair(shared_data, read_audio, name)
    mel = MelSpec(sample_rate=rate, n_mels=40)
    bank = audio_utils.mel_filter_bank(513, 40, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    window = audio_utils.window_function(1024, "hann", periodic=True)
    decibels = [
        10 * np.log10(audio_utils.spectrogram(x[0, 0].double().numpy(), window, 1024, 256, power=2.0, mel_filters=bank))
        for x in (worse, clip)
    ]
    expected = np.abs(decibels[0].clip(-80) - decibels[1].clip(-80)).mean()
    assert mel_distance(worse, clip, mel=mel).item() == pytest.approx(expected, rel=1e-4)
