from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.spec import MelSpec

SPEC = MelSpec(sample_rate=16000, n_mels=40, n_fft=512, hop=128)


def tones(n: int, *, rate: int = 16000) -> torch.Tensor:
    t = torch.arange(n) / rate
    noise = 0.002 * torch.randn(n)
    return (0.1 * torch.sin(2 * math.pi * 440 * t) + 0.05 * torch.sin(2 * math.pi * 1234 * t) + noise)[None, None]


def reference(wave: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Log-mel from the formulas: scipy's transform, HTK triangles of unit height."""
    pad = np.pad(wave, spec.n_fft // 2, mode="reflect")
    window = scipy.signal.get_window("hann", spec.n_fft)
    frames = [pad[i : i + spec.n_fft] * window for i in range(0, len(wave), spec.hop)]
    power = np.abs(np.fft.rfft(np.stack(frames), axis=1)) ** 2
    top = 2595 * np.log10(1 + spec.sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, spec.n_mels + 2) / 2595) - 1)
    freqs = np.fft.rfftfreq(spec.n_fft, 1 / spec.sample_rate)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.maximum(0, np.minimum((freqs - low) / (mid - low), (high - freqs) / (high - mid)))
    db = 10 * np.log10(np.maximum(filters @ power.T, 1e-12))
    return np.clip((db - spec.floor_db) / (spec.ceiling_db - spec.floor_db) * 2 - 1, -1, 1)


def test_equals_the_formulas() -> None:
    wave = tones(4096)
    ours = LogMel(SPEC)(wave)
    assert ours.shape == (1, 1, 40, 32)
    expected = reference(wave[0, 0].double().numpy(), SPEC)
    # Float32 transforms: 1e-4 is 0.006 dB.
    np.testing.assert_allclose(ours[0, 0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("n", [4096, 4100, 4223])
def test_frames_are_samples_over_hop(n: int) -> None:
    assert LogMel(SPEC)(torch.randn(2, 2, n)).shape == (2, 2, 40, n // 128)


def test_silence_is_the_floor_and_loud_is_the_ceiling() -> None:
    mel = LogMel(SPEC)
    assert (mel(torch.zeros(1, 1, 2048)) == -1).all()
    assert mel(torch.sign(torch.randn(1, 1, 2048))).max() <= 1


def test_power_is_the_inverse_of_the_scale() -> None:
    mel = LogMel(SPEC)
    assert mel.power(torch.tensor([-1.0, 0.0, 1.0])).tolist() == pytest.approx([1e-8, 10**-1.5, 1e5], rel=1e-5)


def test_inversion_gives_the_spectrogram_back() -> None:
    mel = LogMel(SPEC)
    target = mel(tones(16384))
    wave = mel.invert(target)
    assert wave.shape == (1, 1, 16384)
    again = mel(wave)
    # In dB, away from the edges. Two pure tones over faint noise are the hard case: 60 dB between neighbouring bins.
    error = (target - again).abs()[..., 4:-4] * 60
    assert error.mean() < 2.0
    strongest = target[..., 4:-4].mean(-1).argmax()
    assert error[0, 0, strongest].mean() < 1.0


def test_inversion_is_deterministic_and_leaves_the_generator_alone() -> None:
    mel = LogMel(SPEC)
    target = mel(tones(4096))
    state = torch.get_rng_state()
    first = mel.invert(target, seed=3, iterations=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, mel.invert(target, seed=3, iterations=4))
    assert not torch.equal(first, mel.invert(target, seed=4, iterations=4))


def test_inversion_does_not_depend_on_the_batch() -> None:
    mel = LogMel(SPEC)
    target = mel(torch.cat([tones(4096), 0.3 * torch.randn(2, 1, 4096)]))
    whole = mel.invert(target)
    apart = torch.cat([mel.invert(part) for part in target.split(1)])
    assert torch.allclose(whole, apart, atol=1e-4)


def test_inversion_agrees_with_torchaudio_from_the_same_phases() -> None:
    from torchaudio.functional import griffinlim

    mel = LogMel(SPEC)
    magnitude = torch.rand(2, SPEC.n_fft // 2 + 1, 17)
    torch.manual_seed(3)
    options = {"n_fft": SPEC.n_fft, "hop_length": SPEC.hop, "win_length": SPEC.n_fft, "power": 1.0, "n_iter": 6}
    theirs = griffinlim(
        magnitude, mel.mel.spectrogram.window, momentum=0.99, length=16 * SPEC.hop, rand_init=True, **options
    )
    torch.manual_seed(3)
    ours = mel._griffin_lim(magnitude, torch.rand(magnitude.shape, dtype=torch.complex64), 6)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_inversion_of_silence_is_nearly_silent() -> None:
    mel = LogMel(SPEC)
    assert mel.invert(torch.full((1, 1, 40, 16), -1.0)).abs().max() < 1e-3


def test_real_speech_comes_back(shared_data: Path) -> None:
    import av

    with av.open(str(sorted((shared_data / "audio" / "fsdd" / "recordings").glob("*.wav"))[0])) as container:
        wave = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[0]
    spec = MelSpec(sample_rate=8000, n_mels=64, n_fft=512, hop=64)
    mel = LogMel(spec)
    target = mel(torch.from_numpy(wave[: len(wave) // 64 * 64] / 32768).float()[None, None])
    error = (target - mel(mel.invert(target))).abs() * 60
    assert error.mean() < 1.5
