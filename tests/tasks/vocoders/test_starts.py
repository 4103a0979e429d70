"""What a vocoder starts from is computed once per sample, and is that of the whole sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.vocoders.config import ISTFTConfig
from latentbench.tasks.vocoders.istft import ISTFT
from latentbench.tasks.vocoders.starts import Started
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec
from latentbench.tokenizers.training import TrainingConfig

CPU = torch.device("cpu")
MEL = MelSpec(sample_rate=8000, n_mels=24, n_fft=256, hop=64)
# Six samples more than the frames' own: a data set's clips need not be a multiple of the hop.
SOUND = SignalSpec(
    modality=Modality.SPECTROGRAM, channels=2, shape=(24, 16), rate=8000.0, mel=MEL, source_shape=(2, 1030)
)


class Clips:
    """Seven clips of noise; remembers what was asked for."""

    def __init__(self) -> None:
        self.waves = 0.1 * torch.randn(7, 2, 1030)
        self.expected: list[list[int]] = []

    def __len__(self) -> int:
        return 7

    def expect(self, indices: np.ndarray, draws: Any = None) -> None:
        self.expected.append(indices.tolist())

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return self.waves[indices].to(device)


def build(**options: Any) -> ISTFT:
    vocoder: ISTFT = ISTFTConfig(width=8, blocks=1, **{"start_iterations": 2} | options).build(SOUND)
    return vocoder


def test_each_is_computed_once_and_read_back_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder, clips = build(), Clips()
    mel = LogMel(MEL)(clips.waves)
    alone = [vocoder.start(mel[i : i + 1]) for i in range(7)]
    source = Started(clips, vocoder, tmp_path, samples=99)
    calls: list[int] = []
    compute = vocoder.start
    monkeypatch.setattr(vocoder, "start", lambda mel: (calls.append(len(mel)), compute(mel))[1])
    for indices in ([5, 2], [2, 2, 0], [6, 1, 4, 3, 5]):
        waves, starts = source.batch(np.array(indices), CPU)
        assert torch.equal(waves, clips.waves[indices])
        assert torch.equal(starts, torch.cat([alone[i] for i in indices]))  # type: ignore[misc]
    assert calls == [1] * 7
    assert list(tmp_path.iterdir()) == []  # the file has no name that a killed job could leave behind


def test_fewer_samples_are_spread_evenly(tmp_path: Path) -> None:
    clips = Clips()
    source = Started(clips, build(), tmp_path, samples=3)
    assert len(source) == 3
    waves, _ = source.batch(np.array([0, 1, 2]), CPU)
    assert torch.equal(waves, clips.waves[[0, 3, 6]])
    source.expect(np.array([2, 0]))
    assert clips.expected == [[6, 0]]


def test_no_more_frames_are_started_than_training_sees() -> None:
    training: dict[str, Any] = {"steps": 10, "batch_size": 4}
    config = ISTFTConfig(frames=8, training=TrainingConfig(**training))
    assert config.started(SOUND) == 10 * 4 * 8 // 16
    assert ISTFTConfig(start_iterations=0).started(SOUND) == 0
    step = 3 * config.estimate_flops(SOUND) * 4
    paid = ISTFTConfig(frames=8, training=TrainingConfig(flops=6 * step, **training))
    assert paid.started(SOUND) == 6 * 4 * 8 // 16


def test_a_pair_gives_the_losses_that_its_waveforms_alone_do() -> None:
    vocoder, waves = build(), Clips().waves
    pair = waves, vocoder.start(LogMel(MEL)(waves))
    values = []
    for batch in (waves, pair):
        torch.manual_seed(3)
        values.append(vocoder.losses(batch, group="model", step=0, steps=1))
    assert values[0].keys() == values[1].keys()
    assert all(torch.equal(values[0][name], values[1][name]) for name in values[0])
