"""Transforms of signals and their counterparts on latents."""

from __future__ import annotations

import math

import pytest
import torch

from latentbench.tokenizers.backbones.patch import space_to_depth
from latentbench.tokenizers.regularisers.transforms import draw, fixed, halve, shift, turn
from latentbench.tokenizers.spec import Modality


@pytest.mark.parametrize("kind", ["rotate", "flip", "scale", "shift"])
def test_a_mean_of_patches_is_equivariant(kind: str) -> None:
    x = torch.rand(2, 3, 16, 16)
    for _ in range(5):
        transform = draw(kind, Modality.IMAGE, (16, 16), (4, 4), whole=True)
        pooled = torch.nn.functional.avg_pool2d(transform.signal(x), 4)
        torch.testing.assert_close(pooled, transform.latent(torch.nn.functional.avg_pool2d(x, 4)))


def test_a_shift_by_part_of_a_position_blends_two() -> None:
    ramp = torch.arange(8.0).view(1, 1, 8)
    moved = shift([(10, 4)]).latent(ramp)
    assert moved[0, 0].tolist() == [5.5, 6.5, 3.5, 0.5, 1.5, 2.5, 3.5, 4.5]  # by 2.5 positions, around the end
    signal = torch.arange(32).view(1, 1, 32)
    assert torch.equal(shift([(10, 4)]).signal(signal), signal.roll(10, -1))


def test_codes_move_by_whole_positions() -> None:
    z = torch.rand(1, 2, 8)
    for _ in range(20):
        transform = draw("shift", Modality.WAVEFORM, (64,), (8,), whole=True)
        moved = transform.latent(z)
        assert any(torch.equal(moved, z.roll(n, -1)) for n in range(8))
        x = torch.rand(1, 1, 64)
        assert torch.equal(space_to_depth(transform.signal(x), (8,)), transform.latent(space_to_depth(x, (8,))))


def test_what_is_not_square_turns_upside_down_only() -> None:
    x = torch.rand(1, 1, 8, 12)
    for _ in range(5):
        assert torch.equal(draw("rotate", Modality.IMAGE, (8, 12), (2, 3), whole=False).signal(x), x.flip(-1, -2))
    turns = {draw("rotate", Modality.IMAGE, (8, 8), (2, 2), whole=False).signal(x[..., :8]) for _ in range(40)}
    assert len({tuple(t.flatten().tolist()) for t in turns}) == 3


def test_time_and_space_of_a_clip() -> None:
    clip = torch.rand(1, 3, 4, 8, 6)
    assert torch.equal(fixed("reverse", Modality.VIDEO).signal(clip), clip.flip(2))
    assert torch.equal(fixed("flip", Modality.VIDEO).signal(clip), clip.flip(-1))
    assert torch.equal(turn(2).signal(clip), clip.flip(-1, -2))
    torch.testing.assert_close(halve(clip)[:, :, 1], torch.nn.functional.avg_pool2d(clip[:, :, 1], 2))
    mel = torch.rand(1, 1, 16, 8)
    assert torch.equal(fixed("reverse", Modality.SPECTROGRAM).signal(mel), mel.flip(-1))
    with pytest.raises(ValueError, match="no transform 'mirror'"):
        fixed("mirror", Modality.IMAGE)


def test_half_of_a_sound_is_the_mean_of_pairs() -> None:
    x = torch.arange(8.0).view(1, 1, 8)
    assert fixed("scale", Modality.WAVEFORM).signal(x)[0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]


def test_a_fourier_shift_keeps_a_wave_that_a_blend_dampens() -> None:
    """Latents of a wave, four elements per position, moved by half a position."""
    place = torch.arange(64.0)
    wave = (2 * math.pi * 3 / 64 * place).sin().view(1, 1, 64)
    for fourier in (True, False):
        transform = shift([(2, 4)], fourier=fourier)
        expected = transform.signal(wave)[..., ::4]
        error = (transform.latent(wave[..., ::4]) - expected).abs().max().item()
        assert (error < 1e-5) == fourier
    moves = {draw("shift", Modality.WAVEFORM, (64,), (16,), whole=False, fourier=True) for _ in range(20)}
    z = torch.randn(1, 1, 16)
    energies = [transform.latent(z).square().sum().item() for transform in moves]
    assert max(energies) <= z.square().sum().item() * 1.0001  # a blend would take more than the highest frequency
