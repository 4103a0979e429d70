"""The multi-scale mel distance against transformers' and numpy's arithmetic; scale, gradient, short signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentbench.tokenizers.losses.mel_scales import MelScales, mel_scales_distance, scales, slaney_filters
from latentbench.tokenizers.losses.mel_scales_config import MelScalesConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

RATE = 16000.0


def sound(samples: int) -> SignalSpec:
    return SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(samples,), rate=RATE)


def magnitudes(x: np.ndarray, window: int) -> np.ndarray:
    """`[N]` to `[T, F]`: periodic Hann, centred frames, mirrored edges, hop of a quarter window."""
    padded = np.pad(x, window // 2, mode="reflect")
    starts = range(0, len(padded) - window + 1, window // 4)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return np.abs(np.fft.rfft(np.stack([padded[s : s + window] * hann for s in starts])))


def test_the_distance_is_that_of_numpy_with_transformers_filters() -> None:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    x, y = torch.randn(2, 1, 4096) * 0.1, torch.randn(2, 1, 4096) * 0.1
    loss = MelScales(MelScalesConfig(windows=(64, 512), mels=(8, 40)), sound(4096))
    measured = loss(x, y)
    for sample in range(2):
        total = 0.0
        for window, bins in ((64, 8), (512, 40)):
            filters = audio_utils.mel_filter_bank(
                window // 2 + 1, bins, 0.0, RATE / 2, int(RATE), norm="slaney", mel_scale="slaney"
            )
            logs = [
                np.log10(np.maximum(magnitudes(s[sample, 0].double().numpy(), window) @ filters, 1e-5)) for s in (x, y)
            ]
            total += np.abs(logs[0] - logs[1]).mean() / 2
        assert measured[sample].item() == pytest.approx(total, rel=1e-3)


def test_a_tenth_of_the_loudness_is_a_distance_of_one() -> None:
    """Magnitudes ten times smaller are one decade away at every scale, where nothing is near the floor."""
    x = torch.randn(1, 1, 8192)
    sizes, filters = scales(8192, RATE, (512, 2048), (20, 40))
    assert mel_scales_distance(x, 0.1 * x, sizes=sizes, filters=filters).item() == pytest.approx(1.0, abs=1e-3)
    assert mel_scales_distance(x, x, sizes=sizes, filters=filters).item() == 0.0


def test_silence_has_a_finite_gradient() -> None:
    config = MelScalesConfig()
    x = torch.zeros(1, 1, 2048, requires_grad=True)
    value = MelScales(config, sound(2048))(x, torch.randn(1, 1, 2048))
    value.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_windows_that_do_not_fit_are_halved_and_counted_once() -> None:
    sizes, filters = scales(300, RATE, (128, 256, 512, 1024), (8, 16, 24, 32))
    assert sizes == ((128, 32), (256, 64))
    assert [tuple(f.shape) for f in filters] == [(8, 65), (16, 129)]
    assert slaney_filters(32, 5, RATE).shape == (5, 17)


def test_a_halved_window_has_half_of_the_filters() -> None:
    """Of 80 filters at 512 samples a window of 128 could not tell all apart: many would be empty."""
    sizes, filters = scales(200, RATE, (512,), (80,))
    assert (sizes, [tuple(f.shape) for f in filters]) == (((128, 32),), [(20, 65)])
    for bank in (filters[0], *scales(100_000, RATE, MelScalesConfig().windows, MelScalesConfig().mels)[1]):
        assert int(torch.linalg.matrix_rank(bank.double())) == len(bank)
        assert bool((bank.sum(1) > 0).all())


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="mels must be 7 whole numbers"):
        MelScalesConfig(mels=(5,))
    with pytest.raises(ValueError, match="a window of 16 can't tell 9 mel bins apart; at most 8"):
        MelScalesConfig(windows=(16,), mels=(9,))
    with pytest.raises(ValueError, match="windows must be"):
        MelScalesConfig(windows=(8,), mels=(5,))
