from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.config import PsnrConfig
from latentbench.tasks.metrics.psnr import Psnr, interval_with_cap, psnr, to_uint8
from latentbench.tokenizers.spec import Modality, SignalSpec


def test_equals_skimage_per_image() -> None:
    x, y = torch.rand(2, 4, 3, 9, 7) * 2 - 1
    expected = [peak_signal_noise_ratio(a, b, data_range=2.0) for a, b in zip(y.numpy(), x.numpy(), strict=True)]
    np.testing.assert_allclose(psnr(x, y), expected, rtol=1e-6)


def test_uint8_equals_skimage_and_uses_range_255() -> None:
    x, y = torch.randint(0, 256, (2, 4, 3, 9, 7), dtype=torch.uint8)
    expected = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(y.numpy(), x.numpy(), strict=True)]
    np.testing.assert_allclose(psnr(x, y), expected, rtol=1e-6)


def test_feeding_unit_range_images_inflates_by_six_decibels() -> None:
    x, y = torch.rand(2, 1, 3, 8, 8)
    signed = psnr(2 * x - 1, 2 * y - 1)
    assert float(psnr(x, y) - signed) == pytest.approx(6.0206, abs=1e-3)


def test_equal_signals_are_capped() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert psnr(x, x).tolist() == [100.0, 100.0]


def test_to_uint8_rounds_and_clamps() -> None:
    x = torch.tensor([-1.5, -1.0, -1 + 0.6 / 127.5, -1 + 0.4 / 127.5, 0.9999, 1.0, 3.0])
    assert to_uint8(x).tolist() == [0, 0, 1, 0, 255, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every / 127.5 - 1), every)


def test_video_is_per_frame() -> None:
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 8, 8), rate=8.0)
    x, y = torch.rand(2, 2, 3, 4, 8, 8) * 2 - 1
    values = Psnr(PsnrConfig()).values(x, y, signal)
    assert values.shape == (2, 4)
    assert torch.allclose(values[1, 2], psnr(to_uint8(x[1:, :, 2]), to_uint8(y[1:, :, 2]))[0])
    assert "rounding" in Psnr(PsnrConfig()).protocol(signal)


def test_audio_is_not_rounded() -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(100,), rate=100.0)
    x = torch.rand(1, 1, 100) * 0.001
    assert float(Psnr(PsnrConfig()).values(x, x + 1e-4, signal)) == pytest.approx(86.02, abs=0.01)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(UserError, match=r"\[1, 3, 8, 8\]"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))


def test_equal_signals_among_others_widen_the_interval_upwards() -> None:
    values = torch.cat([30 + torch.randn(254, generator=torch.Generator().manual_seed(0)), torch.full((2,), 100.0)])
    interval = interval_with_cap(values.double())
    assert interval is not None
    mean = float(values.double().mean())
    assert interval[0] < mean < interval[1]
    assert interval[1] - mean > 2 * (mean - interval[0])
    assert interval_with_cap(torch.full((5,), 100.0).double()) == (100, 100)
    assert interval_with_cap(torch.ones(1).double()) is None


@pytest.mark.parametrize(("n", "share"), [(64, 0.0), (64, 0.1), (256, 0.02)])
def test_the_interval_holds_the_mean(n: int, share: float) -> None:
    generator = torch.Generator().manual_seed(n)
    truth, held, normal = 30 + share * 70, 0, 0
    for _ in range(400):
        values = 30 + 3 * torch.randn(n, generator=generator, dtype=torch.float64)
        values[torch.rand(n, generator=generator) < share] = 100
        interval = interval_with_cap(values)
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
        normal += abs(float(values.mean()) - truth) <= 1.96 * float(values.std()) / n**0.5
    assert 0.92 * 400 <= held <= 0.98 * 400
    assert normal < held or not share
