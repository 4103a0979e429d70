"""Discriminators: what a logit sees, shapes in every rank, spectra and deviations against second implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchaudio.functional import spectrogram

from latentbench.tokenizers.auxiliary.discriminators import (
    Discriminator,
    PatchDiscriminator,
    STFTDiscriminator,
    StyleDiscriminator,
    TemporalDiscriminator,
    deviation_map,
)
from latentbench.tokenizers.auxiliary.waveform_discriminators import (
    BandDiscriminator,
    CodecDiscriminator,
    PeriodDiscriminator,
)


def extent(net: Discriminator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Positions per axis at which the middle logit has a gradient."""
    x = torch.randn(1, 1, *shape, requires_grad=True)
    logits = net(x).logits[0][0, 0]
    logits[tuple(size // 2 for size in logits.shape)].backward()
    assert x.grad is not None
    seen = x.grad[0, 0] != 0
    axes = range(len(shape))
    return tuple(
        int(seen.any(tuple(a for a in axes if a != axis)).sum() if len(shape) > 1 else seen.sum()) for axis in axes
    )


@pytest.mark.parametrize(("layers", "size"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_large_as_in_the_paper(layers: int, size: int) -> None:
    net = PatchDiscriminator((128, 112), channels=1, width=2, layers=layers)
    assert net.receptive_field == (size, size)
    assert extent(net, (128, 112)) == (size, size)


@pytest.mark.parametrize(
    ("shape", "layers", "field"),
    [
        ((2048,), 2, (1 + 7 + 7 * 4 + 2 * 7 * 16,)),
        ((32, 24, 40), 1, (16, 16, 16)),
        ((7, 160), 3, (1 + 3 + 3 * 2 + 9 * 2, 1 + 3 + 6 + 12 + 24 + 24)),  # 7 -> 3, and no further
    ],
)
def test_the_receptive_field_in_any_rank(shape: tuple[int, ...], layers: int, field: tuple[int, ...]) -> None:
    net = PatchDiscriminator(shape, channels=1, width=2, layers=layers)
    assert net.receptive_field == field
    assert extent(net, shape) == tuple(min(size, field_size) for size, field_size in zip(shape, field, strict=True))


@pytest.mark.parametrize("shape", [(1,), (5,), (300,), (2, 3), (16, 24), (1, 7, 2), (4, 9, 17)])
@pytest.mark.parametrize("kind", ["patch", "style"])
def test_any_shape_is_judged(kind: str, shape: tuple[int, ...]) -> None:
    net: Discriminator
    if kind == "patch":
        net = PatchDiscriminator(shape, channels=2, width=4, layers=3)
    else:
        net = StyleDiscriminator(shape, channels=2, width=4, layers=None)
    x = torch.randn(3, 2, *shape)
    judged = net(x)
    assert judged.logits[0].shape[:2] == (3, 1)
    assert all(part.isfinite().all() for part in (*judged.logits, *judged.features))
    judged.logits[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_temporal_net_judges_differences_of_frames_alone() -> None:
    net = TemporalDiscriminator((5, 16, 16), channels=3, width=4, layers=2)
    of_differences = PatchDiscriminator((4, 16, 16), channels=3, width=4, layers=2)
    of_differences.load_state_dict(net.state_dict())
    x, still = torch.randn(2, 3, 5, 16, 16), torch.randn(2, 3, 1, 16, 16)
    with torch.no_grad():
        judged = net(x)
        torch.testing.assert_close(net(x + still).logits[0], judged.logits[0], atol=1e-5, rtol=1e-5)
        expected = of_differences(x[:, :, 1:] - x[:, :, :-1])
        assert torch.equal(judged.logits[0], expected.logits[0])
        assert not torch.allclose(net(x.flip(2)).logits[0].flip(2), judged.logits[0], atol=1e-3)


def test_the_map_of_logits_is_the_signal_s_over_the_strides() -> None:
    net = PatchDiscriminator((3, 32, 21), channels=3, width=4, layers=3)
    assert net.strides == [(1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 1, 1), (1, 1, 1)]
    judged = net(torch.randn(2, 3, 3, 32, 21))
    assert judged.logits[0].shape == (2, 1, 3, 4, 2)
    assert [feature.shape[1] for feature in judged.features] == [4, 8, 16, 32]


def test_a_style_net_ends_at_four_positions_and_one_logit() -> None:
    net = StyleDiscriminator((32, 20), channels=3, width=4, layers=None)
    judged = net(torch.randn(2, 3, 32, 20))
    assert [tuple(feature.shape[1:]) for feature in judged.features] == [(8, 16, 10), (16, 8, 5), (32, 4, 2), (32,)]
    assert judged.logits[0].shape == (2, 1)
    assert len(StyleDiscriminator((32, 20), channels=3, width=4, layers=1).blocks) == 1


@pytest.mark.parametrize("kind", ["patch", "stft", "style", "period", "band", "codec"])
def test_only_the_style_net_compares_samples(kind: str) -> None:
    net: Discriminator = {
        "patch": lambda: PatchDiscriminator((512,), channels=1, width=4, layers=2),
        "stft": lambda: STFTDiscriminator(512, channels=1, width=4, layers=2, windows=(256, 64)),
        "style": lambda: StyleDiscriminator((512,), channels=1, width=4, layers=None),
        "period": lambda: PeriodDiscriminator(channels=1, width=1),
        "band": lambda: BandDiscriminator(512, channels=1, width=4, layers=2, windows=(256, 64)),
        "codec": lambda: CodecDiscriminator(512, channels=1, width=1, layers=2, windows=(256,)),
    }[kind]()
    x = torch.randn(2, 1, 512)
    with torch.no_grad():
        alone = [part[0] for part in net(x[[0, 1]]).logits]
        beside = [part[0] for part in net(torch.stack([x[0], 3 * x[1]])).logits]
    alike = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alone, beside, strict=True))
    assert alike == (kind != "style")


def test_the_deviation_is_numpy_s_and_finite_for_equal_samples() -> None:
    x = torch.randn(5, 3, 4, 6, dtype=torch.float64)
    expected = np.sqrt(x.numpy().var(axis=0)).mean()
    measured = deviation_map(x)
    assert measured.shape == (5, 1, 4, 6)
    np.testing.assert_allclose(measured.numpy(), expected, rtol=1e-6)
    same = torch.ones(2, 1, 3, requires_grad=True)
    deviation_map(same).sum().backward()
    assert same.grad is not None
    assert same.grad.isfinite().all()


def peer(x: Tensor, window: int) -> Tensor:
    """torchaudio's complex spectrogram, normalised by the window, as `[B, 2 C, T, F]`."""
    hann = torch.hann_window(window)
    spectrum = spectrogram(x, 0, hann, window, window // 4, window, None, "window", True, "constant")
    parts = torch.stack([spectrum.real, spectrum.imag], dim=2).transpose(-1, -2)  # [B, C, 2, T, F]
    return parts.flatten(1, 2)


@pytest.mark.parametrize("channels", [1, 2])
def test_spectra_are_torchaudio_s_and_noise_has_unit_power(channels: int) -> None:
    net = STFTDiscriminator(8192, channels=channels, width=4, layers=1, windows=(256,))
    x = torch.randn(4, channels, 8192)
    spectrum = net.spectrum(x, 256)
    assert torch.allclose(spectrum, peer(x, 256), atol=1e-5)
    power = spectrum.view(4, channels, 2, *spectrum.shape[2:]).square().sum(2)
    assert power[..., 2:-2, 2:-2].mean().item() == pytest.approx(1.0, abs=0.03)


def test_windows_are_halved_until_they_fit() -> None:
    net = STFTDiscriminator(300, channels=1, width=4, layers=3, windows=(2048, 1024, 200))
    assert net.windows == (256, 200)
    judged = net(torch.randn(2, 1, 300))
    assert [tuple(part.shape) for part in judged.logits] == [(2, 1, 5, 17), (2, 1, 7, 13)]
    assert len(judged.features) == 2 * 5
