from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.config import SsimConfig
from latentbench.tasks.metrics.psnr import to_uint8
from latentbench.tasks.metrics.ssim import Ssim, ssim, window_size
from latentbench.tokenizers.spec import Modality, SignalSpec


def skimage_ssim(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    return [
        structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=255,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x.numpy(), y.numpy(), strict=True)
    ]


def pair(shape: tuple[int, ...], noise: float = 20.0) -> tuple[torch.Tensor, torch.Tensor]:
    smooth = torch.nn.functional.interpolate(torch.rand(*shape[:2], 5, 6), shape[2:], mode="bilinear") * 255
    noisy = (smooth + noise * torch.randn(shape)).round().clamp(0, 255)
    return smooth.round().to(torch.uint8), noisy.to(torch.uint8)


# 127 to 129 outputs straddle the border of a block of the banded product.
@pytest.mark.parametrize("size", [(11, 11), (64, 48), (127, 129), (128, 260), (300, 139)])
def test_equals_skimage(size: tuple[int, int]) -> None:
    x, y = pair((3, 3, *size))
    np.testing.assert_allclose(ssim(x, y, data_range=255), skimage_ssim(x, y), atol=2e-6)


def test_many_images_equal_one_at_a_time() -> None:
    x, y = pair((150, 1, 64, 64))
    together = ssim(x, y, data_range=255)
    alone = torch.cat([ssim(x[i : i + 1], y[i : i + 1], data_range=255) for i in range(150)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_nearly_black_images_keep_their_digits() -> None:
    x = torch.randint(0, 3, (2, 1, 32, 32), dtype=torch.uint8)
    y = torch.randint(0, 3, (2, 1, 32, 32), dtype=torch.uint8)
    np.testing.assert_allclose(ssim(x, y, data_range=255), skimage_ssim(x, y), atol=1e-5)


def test_equals_torchmetrics_without_its_reflected_border() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    x, y = (t.float() / 255 for t in pair((4, 3, 40, 40)))
    _, full = functional.structural_similarity_index_measure(
        x, y, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    assert torch.allclose(ssim(x, y, data_range=1.0), expected, atol=2e-5)


def test_identity_is_one_and_symmetric() -> None:
    x, y = pair((2, 3, 32, 32))
    assert ssim(x, x, data_range=255).tolist() == [1.0, 1.0]
    assert torch.allclose(ssim(x, y, data_range=255), ssim(y, x, data_range=255), atol=1e-6)


@pytest.mark.parametrize(("size", "window"), [((8, 20), 7), ((5, 5), 5), ((2, 2), 1), ((1, 1), 1)])
def test_small_images_take_a_smaller_odd_window(size: tuple[int, int], window: int) -> None:
    assert window_size(*size) == window
    x, y = pair((2, 3, *size))
    value = ssim(x, y, data_range=255)
    assert bool(torch.isfinite(value).all())
    assert float(value.max()) <= 1
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=size)
    assert f"{window}x{window} window" in Ssim(SsimConfig()).protocol(signal)


def test_video_is_per_frame() -> None:
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 16, 16), rate=8.0)
    x, y = torch.rand(2, 2, 3, 4, 16, 16) * 2 - 1
    values = Ssim(SsimConfig()).values(x, y, signal)
    assert values.shape == (2, 4)
    expected = ssim(to_uint8(x[:, :, 3]), to_uint8(y[:, :, 3]), data_range=255)
    assert torch.allclose(values[:, 3], expected, atol=1e-6)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="one shape"):
        ssim(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17), data_range=255)
