"""The trained vocoder: what it renders before training, how it learns, and what its parts are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.interface import Context
from latentbench.tasks.metrics.audio import mel_distance, stft_distance
from latentbench.tasks.vocoders.config import GriffinLimConfig, ISTFTConfig
from latentbench.tasks.vocoders.istft import ISTFT
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.micro_batch import MicroBatch
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

MEL = MelSpec(sample_rate=8000, n_mels=24, n_fft=256, hop=64)
SOUND = SignalSpec(
    modality=Modality.SPECTROGRAM, channels=2, shape=(24, 16), rate=8000.0, mel=MEL, source_shape=(2, 1024)
)
SMALL = {"width": 8, "blocks": 1, "kernel": 3, "frames": 8, "start_iterations": 2}


def tones(n: int, seed: int = 0) -> Tensor:
    """`[n, 2, 1024]` tones with an overtone."""
    generator = torch.Generator().manual_seed(seed)
    pitch = 200 + 800 * torch.rand(n, 2, 1, generator=generator)
    phase = 2 * np.pi * torch.rand(n, 2, 1, generator=generator)
    time = 2 * np.pi * pitch * torch.arange(1024) / 8000
    return 0.4 * torch.sin(time + phase) + 0.2 * torch.sin(2 * time)


def build(**options: Any) -> ISTFT:
    vocoder: ISTFT = ISTFTConfig(**SMALL | options).build(SOUND)
    return vocoder


@torch.inference_mode()
def test_an_untrained_one_is_where_griffin_lim_has_come() -> None:
    waves = tones(3)
    mel = LogMel(MEL)(waves)
    ours, theirs = build(start_iterations=4).render(mel), GriffinLimConfig().build(SOUND, iterations=4).render(mel)
    assert ours.shape == waves.shape
    assert float((ours - theirs).abs().max()) < 1e-3


@torch.inference_mode()
def test_without_a_start_it_is_as_loud_as_the_sound() -> None:
    waves = tones(3)
    rendered = build(start_iterations=0).render(LogMel(MEL)(waves))
    assert rendered.shape == waves.shape
    assert 0.2 < float(rendered.std() / waves.std()) < 5


@torch.inference_mode()
def test_each_sound_is_rendered_from_its_own_mel_alone() -> None:
    mel = LogMel(MEL)(tones(3))
    for start in (0, 2):
        vocoder = build(start_iterations=start)
        torch.nn.init.normal_(vocoder.head.weight, std=0.1)
        apart = torch.cat([vocoder.render(part) for part in mel.split(1)])
        torch.testing.assert_close(vocoder.render(mel), apart, atol=1e-5, rtol=1e-4)


# What Griffin-Lim leads to is nearer than a pulse per frame: less is left to be learned.
@pytest.mark.parametrize(("start", "share"), [(0, 0.95), (2, 0.98)])
def test_it_learns(start: int, share: float) -> None:
    vocoder, waves, held_out = build(start_iterations=start, width=32), tones(64), tones(4, seed=9)
    starts = vocoder.start(LogMel(MEL)(waves))
    mel = LogMel(MEL)(held_out)

    def score() -> tuple[float, float]:
        with torch.inference_mode():
            rendered = vocoder.render(mel)
        distances = stft_distance(rendered, held_out), mel_distance(rendered, held_out, mel=MEL)
        return float(distances[0].mean()), float(distances[1].mean())

    before = score()
    optimiser = torch.optim.AdamW(vocoder.parameters(), lr=3e-3)
    for step in range(25):
        optimiser.zero_grad()
        some = torch.randperm(64)[:16]
        batch = waves[some] if starts is None else (waves[some], starts[some])
        losses = vocoder.losses(batch, group="model", step=step, steps=25)
        assert torch.equal(losses["loss"], losses["stft"] + 2 * losses["mel"])
        losses["loss"].backward()
        optimiser.step()
    after = score()
    assert after[0] < share * before[0]
    assert after[1] < before[1]


def test_training_sees_random_parts_of_whole_frames() -> None:
    vocoder = build()
    waves = torch.arange(1024.0).expand(64, 2, 1024)
    parts, same = vocoder._parts(waves, waves)
    assert torch.equal(parts, same)
    assert parts.shape == (64, 2, 8 * 64)
    firsts = parts[:, 0, 0]
    assert set((firsts / 64).tolist()) == set(range(9))  # every place of 8 frames among 16
    torch.testing.assert_close(parts, firsts[:, None, None] + torch.arange(512.0).expand(64, 2, 512))


def test_a_part_of_a_batch_sees_what_the_whole_does() -> None:
    vocoder, waves = build(), tones(4)
    torch.manual_seed(0)
    (whole,) = vocoder._parts(waves)
    for number in range(2):
        torch.manual_seed(0)
        with MicroBatch(number, 2, 2):
            (part,) = vocoder._parts(waves[2 * number : 2 * number + 2])
        assert torch.equal(part, whole[2 * number : 2 * number + 2])


def test_a_part_is_longer_than_half_a_window() -> None:
    assert ISTFTConfig(frames=1).part(SOUND) == 3
    assert ISTFTConfig(frames=99).part(SOUND) == 16


def test_a_context_has_the_trained_one_or_griffin_lim(tmp_path: Any) -> None:
    options: dict[str, Any] = {"device": torch.device("cpu"), "seed": 0, "folder": tmp_path}
    trained = build()
    assert Context(**options, vocoder=trained).vocoder_of(SOUND, 4) is trained
    griffin_lim = Context(**options).vocoder_of(SOUND, 4)
    assert griffin_lim is not None
    assert griffin_lim.protocol == "Griffin-Lim, 4 iterations"
    wave = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=8000.0)
    assert Context(**options).vocoder_of(wave, 4) is None


def test_its_protocol_says_how_it_was_trained() -> None:
    assert build(seed=3).protocol == (
        "inverse-STFT vocoder trained on the training split (1000 steps of 8, seed 3, from 2 iterations of Griffin-Lim)"
    )
