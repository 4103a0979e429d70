from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import signal

from latentbench.results.errors import UserError
from latentbench.tokenizers.losses.objective import Objective
from latentbench.tokenizers.losses.stft import (
    fit_sizes,
    log_mel,
    log_mel_distance,
    magnitudes,
    mel_filters,
    multi_resolution_stft,
)
from latentbench.tokenizers.losses.stft_config import MelConfig, STFTConfig
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(4096,), rate=16000.0)


def scipy_magnitudes(x: np.ndarray, window: int, hop: int) -> np.ndarray:
    """[C, N] to [C, F, T] by scipy: unscaled, centred, reflected edges."""
    padded = np.pad(x, ((0, 0), (window // 2, window // 2)), mode="reflect")
    transform = signal.ShortTimeFFT(signal.get_window("hann", window), hop, fs=1.0, scale_to=None)
    # Its frame p is centred on sample p hop, so the padded signal's first whole frame is half a window on.
    first, count = window // 2 // hop, 1 + (padded.shape[-1] - window) // hop
    return np.abs(transform.stft(padded, first, first + count))


def reference(x: np.ndarray, y: np.ndarray, sizes: tuple[tuple[int, int], ...]) -> float:
    total = 0.0
    for window, hop in sizes:
        a, b = (np.maximum(scipy_magnitudes(s, window, hop), 1e-4) for s in (x, y))
        total += np.linalg.norm(b - a) / np.linalg.norm(b) + np.abs(np.log(b) - np.log(a)).mean()
    return total / len(sizes)


def test_equals_the_papers_equations() -> None:
    x, y = torch.randn(2, 3, 2, 3000, dtype=torch.float64) * 0.3
    sizes = ((512, 128), (1024, 256), (2048, 512))
    expected = [reference(a, b, sizes) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(multi_resolution_stft(x, y), expected, rtol=1e-9)
    np.testing.assert_allclose(multi_resolution_stft(x.float(), y.float()), expected, rtol=1e-4)


def test_equals_auraloss_on_one_sample() -> None:
    freq = pytest.importorskip("auraloss.freq")
    x, y = torch.randn(2, 1, 1, 5000) * 0.3
    loss = freq.MultiResolutionSTFTLoss([512, 1024, 2048], [128, 256, 512], [512, 1024, 2048])
    assert float(multi_resolution_stft(x, y)) == pytest.approx(float(loss(x, y)), rel=1e-5)


def test_known_targets_give_the_same() -> None:
    x, y = torch.randn(2, 2, 1, 3000)
    assert torch.equal(multi_resolution_stft(x, y), multi_resolution_stft(x, y, target=magnitudes(y)))
    mel = MelSpec(sample_rate=16000)
    assert torch.equal(log_mel_distance(x, y, mel=mel), log_mel_distance(x, y, mel=mel, target=log_mel(y, mel=mel)))


def test_gradients_equal_finite_differences() -> None:
    x, y = torch.randn(2, 1, 1, 64, dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: multi_resolution_stft(v, y, sizes=((16, 4), (32, 8))), (x,))
    mel = MelSpec(sample_rate=8000, n_mels=4, n_fft=32, hop=8)
    assert torch.autograd.gradcheck(lambda v: log_mel_distance(v, y, mel=mel), (x,))


@pytest.mark.parametrize("silent", ["estimate", "target", "both"])
def test_silence_gives_finite_values_and_gradients(silent: str) -> None:
    x, y = torch.randn(2, 2, 1, 4096) * 0.1
    x, y = x * (silent == "target"), y * (silent == "estimate")
    x.requires_grad_()
    value = multi_resolution_stft(x, y) + log_mel_distance(x, y, mel=MelSpec(sample_rate=16000))
    value.sum().backward()
    assert bool(torch.isfinite(value).all())
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    # Noise of -20 dB against silence counted as -60 dB is a hundred times as loud, and no louder.
    assert float(value.detach().max()) < 150


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (2048, ((512, 128), (1024, 256), (2048, 512))),
        (1500, ((512, 128), (1024, 256))),
        (100, ((64, 16),)),
        (4, ((4, 1),)),
    ],
)
def test_short_signals_take_shorter_windows(length: int, expected: tuple[tuple[int, int], ...]) -> None:
    assert fit_sizes(length) == expected
    x, y = torch.randn(2, 1, 1, length)
    assert bool(torch.isfinite(multi_resolution_stft(x, y)).all())
    assert bool(torch.isfinite(log_mel_distance(x, y, mel=MelSpec(sample_rate=16000))).all())


def test_filters_equal_torchaudio() -> None:
    functional = pytest.importorskip("torchaudio.functional")
    mel = MelSpec(sample_rate=16000, n_mels=64, f_min=50.0, f_max=7000.0)
    expected = functional.melscale_fbanks(513, 50.0, 7000.0, 64, 16000, norm=None, mel_scale="htk").t()
    assert torch.allclose(mel_filters(mel), expected, atol=1e-5)


def test_log_mel_equals_torchaudio() -> None:
    transforms = pytest.importorskip("torchaudio.transforms")
    x = torch.randn(2, 1, 6000) * 0.2
    mel = MelSpec(sample_rate=16000)
    power = transforms.MelSpectrogram(16000, n_fft=1024, hop_length=256, n_mels=64)(x)
    assert torch.allclose(log_mel(x, mel=mel), 0.5 * power.clamp_min(1e-8).log(), atol=1e-4)


def test_log_mel_distance_of_a_gain_is_its_logarithm() -> None:
    x = torch.randn(1, 1, 6000)
    value = log_mel_distance(x / 3, x, mel=MelSpec(sample_rate=16000))
    assert float(value) == pytest.approx(math.log(3), rel=1e-5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(UserError, match="at least 4 samples"):
        fit_sizes(3)
    with pytest.raises(UserError, match="one shape"):
        multi_resolution_stft(torch.zeros(1, 1, 100), torch.zeros(1, 1, 99))
    with pytest.raises(UserError, match="0-8000 Hz"):
        mel_filters(MelSpec(sample_rate=16000, f_max=9000.0))


def test_a_score_in_inference_mode_leaves_gradients_to_later_losses() -> None:
    mel = MelSpec(sample_rate=12345, n_mels=7, n_fft=300, hop=77)
    x = torch.randn(1, 1, 900)
    sizes = ((123, 31),)
    with torch.inference_mode():
        log_mel_distance(x, 2 * x, mel=mel)
        multi_resolution_stft(x, 2 * x, sizes=sizes)
    y = x.clone().requires_grad_()
    (log_mel_distance(y, 2 * x, mel=mel) + multi_resolution_stft(y, 2 * x, sizes=sizes)).sum().backward()
    assert y.grad is not None
    assert y.grad.abs().max() > 0


def test_both_losses_fall_to_zero_on_equal_sounds_and_pass_gradients() -> None:
    x = (0.3 * torch.randn(2, 1, 4096)).requires_grad_()
    objective = Objective((STFTConfig(), MelConfig()), SOUND)
    assert {name: loss.item() for name, loss in objective(x.detach(), x.detach()).items()} == {"stft": 0.0, "mel": 0.0}
    torch.stack(list(objective(x, 0.3 * torch.randn(2, 1, 4096)).values())).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_the_mel_loss_reads_the_signals_sample_rate() -> None:
    """The same samples at half the rate lie an octave lower, in other mel bands."""
    slow = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(4096,), rate=8000.0)
    x, y = 0.3 * torch.randn(1, 1, 4096), 0.3 * torch.randn(1, 1, 4096)
    for spec, rate in ((SOUND, 16000), (slow, 8000)):
        assert torch.equal(MelConfig().build(spec)(x, y), log_mel_distance(x, y, mel=MelSpec(sample_rate=rate)))
