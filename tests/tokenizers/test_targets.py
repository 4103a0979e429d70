"""Features that latents are aligned with."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from latentbench.tokenizers.losses.lpips import LPIPS
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.target_sizes import mel_of, target_channels
from latentbench.tokenizers.targets import (
    AlexNetFeatures,
    LogMelEnergies,
    OrientedGradients,
    build_target,
    orientations,
    pooled,
)


@pytest.mark.parametrize(
    ("angle", "expected"), [(0, {0: 1.0}), (90, {4: 1.0}), (135, {6: 1.0}), (191.25, {0: 0.5, 1: 0.5})]
)
def test_a_ramp_votes_for_its_direction(angle: float, expected: dict[int, float]) -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    direction = math.radians(angle)
    ramp = 0.5 * (math.cos(direction) * x + math.sin(direction) * y)  # differences of two pixels: length 1
    inside = orientations(ramp.view(1, 1, 8, 8))[0, :, 3, 3]
    assert inside.tolist() == pytest.approx([expected.get(i, 0.0) for i in range(8)], abs=1e-4)


def test_votes_sum_to_the_gradients_length() -> None:
    grey = torch.rand(2, 1, 9, 7)
    dy, dx = torch.gradient(grey[:, 0], dim=(1, 2))
    length = 2 * (dx.square() + dy.square()).sqrt()
    torch.testing.assert_close(orientations(grey).sum(1)[:, 1:-1, 1:-1], length[:, 1:-1, 1:-1])


@pytest.mark.parametrize(
    ("signal", "grid"),
    [
        (SignalSpec(modality=Modality.IMAGE, channels=3, shape=(18, 12)), (3, 2)),
        (SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 12, 12), rate=8.0), (2, 3, 3)),
        (SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0), (32,)),
        (SignalSpec(modality=Modality.WAVEFORM, channels=2, shape=(256,), rate=8000.0), (2,)),
        (SignalSpec(modality=Modality.SPECTROGRAM, channels=1, shape=(16, 8), rate=16000.0), (4, 2)),
    ],
)
def test_every_signal_has_features_on_the_latent_grid(signal: SignalSpec, grid: tuple[int, ...]) -> None:
    target = build_target("handmade", signal, grid, where="here")
    features = pooled(target(torch.randn(2, signal.channels, *signal.shape)), grid)
    assert features.shape == (2, target.channels, *grid) == (2, target_channels("handmade", signal.modality), *grid)
    assert bool(torch.isfinite(features).all())
    assert features.std(0).mean().item() > 0.01


def test_frames_have_the_features_of_images() -> None:
    clip = torch.rand(2, 3, 4, 16, 16)
    maps = OrientedGradients(video=True)(clip)
    for ours, frame in zip(maps, OrientedGradients(video=False)(clip[:, :, 2]), strict=True):
        torch.testing.assert_close(ours[:, :, 2], frame)


def test_a_tone_is_found_at_its_frequency() -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(4096,), rate=16000.0)
    target = LogMelEnergies(mel_of(signal, 16))
    low, high = (torch.sin(2 * math.pi * f * torch.arange(4096) / 16000).view(1, 1, -1) for f in (300, 4000))
    peaks = [target(x)[0].mean(-1).argmax().item() for x in (low, high)]
    assert peaks[0] < 8 < 20 < peaks[1]


@pytest.mark.parametrize("positions", [1, 4, 64, 4096])
def test_frames_of_energies_leave_nothing_of_the_sound_out(positions: int) -> None:
    """A click anywhere is heard, also where one place stands for the whole sound."""
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(4096,), rate=16000.0)
    mel = mel_of(signal, positions)
    assert mel.hop == max(16, min(256, 4096 // positions))
    target, silence = LogMelEnergies(mel), torch.zeros(1, 1, 4096)
    for place in range(100, 4000, 300):
        click = silence.clone()
        click[..., place] = 0.5
        assert (target(click)[0] - target(silence)[0]).max() > 1


def test_alexnets_features_are_those_of_lpips(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = shared_data / "weights"
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(weights))
    clip = torch.rand(1, 3, 2, 32, 32) * 2 - 1
    target = AlexNetFeatures(video=True, where="here")
    maps = target(clip)
    assert sum(x.shape[1] for x in maps) == target.channels
    net = LPIPS(next(weights.glob("alexnet_features_lpips*")))
    squared = sum((x[:, :, 0] - x[:, :, 1]).square().sum((1, 2, 3)) for x in maps)
    torch.testing.assert_close(squared, net(clip[:, :, 0], clip[:, :, 1]))
