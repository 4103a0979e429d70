"""Codes of a sound that begins 2 ms later: the same, others, and what has none along time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.probes import probes
from latentbench.tasks.probes.code_stability import equal_share, later
from latentbench.tasks.probes.interface import ProbeInput
from latentbench.tokenizers.interface import Latents, Tokenizer
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(80,), rate=1000.0)
CPU = torch.device("cpu")


class Envelope(Tokenizer):
    """Two heads per ten samples: whether the loudest is above .5, and whether the first is above 0."""

    @property
    def spec(self) -> LatentSpec:
        return LatentSpec(signal=SOUND, grids=(LatentGrid(shape=(8,), channels=1, codebook_sizes=(2, 2)),))

    def encode(self, signal: Tensor) -> Latents:
        frames = signal[:, 0].unflatten(-1, (8, 10))
        codes = torch.stack([frames.abs().amax(-1) > 0.5, frames[..., 0] > 0], dim=1)
        return Latents(codes=codes.long())

    def decode(self, latents: Latents) -> Tensor:
        raise NotImplementedError


class Waves:
    """A split of these waveforms."""

    def __init__(self, waves: Tensor) -> None:
        self.waves = waves

    def __len__(self) -> int:
        return len(self.waves)

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return self.waves[indices].to(device)


def probed(waves: Tensor) -> ProbeInput:
    data: Any = SimpleNamespace(signal=SOUND, val=Waves(waves))
    latents: Any = None
    return ProbeInput(tokenizer=Envelope(), data=data, latents=latents, device=CPU, batch_size=2)


def test_the_share_of_equal_codes(measured: Any) -> None:
    """A constant keeps its codes. A click at the start of the fourth frame moves into the third: of 14 codes the
    envelope's of both frames change, and the sign's of the fourth."""
    waves = torch.zeros(3, 1, 80)
    waves[1] = 0.7
    waves[2, 0, 30] = 0.9
    metric = measured("code_stability", probed(waves))["code_stability"]
    assert (metric.value, metric.n, metric.direction) == (pytest.approx((1 + 1 + 11 / 14) / 3), 3, "higher")
    assert (
        "without its first 2 samples (2 ms), mirrored at its end; all heads, but for the last of 8" in metric.protocol
    )


def test_a_later_sound_is_as_long_and_mirrored_at_its_end() -> None:
    assert later(torch.arange(6.0).view(1, 1, 6), 2).tolist() == [[[2, 3, 4, 5, 5, 4]]]


def test_all_grids_count() -> None:
    coarse, fine = torch.zeros(1, 1, 3, dtype=torch.int64), torch.zeros(1, 2, 5, dtype=torch.int64)
    one = Latents(codes=coarse, rest=(Latents(codes=fine),))
    other = Latents(codes=coarse + torch.tensor([0, 1, 1]), rest=(Latents(codes=fine),))
    assert equal_share(one, other).tolist() == [pytest.approx(9 / 10)]


@pytest.mark.parametrize(
    ("modality", "grid", "reason"),
    [
        (Modality.IMAGE, {"shape": (8, 8), "codebook_sizes": (4,)}, "it shifts waveforms"),
        (Modality.WAVEFORM, {"shape": (8,)}, "these latents are continuous"),
        (Modality.WAVEFORM, {"shape": (8,), "codebook_sizes": (256,), "topology": "sequence"}, "along time"),
        (Modality.WAVEFORM, {"shape": (1,), "codebook_sizes": (256,)}, "along time"),
    ],
)
def test_what_it_makes_no_sense_on(modality: Modality, grid: dict[str, Any], reason: str) -> None:
    shape = (16,) * modality.rank
    signal = SignalSpec(modality=modality, channels=1, shape=shape, rate=1000.0)
    spec = LatentSpec(signal=signal, grids=(LatentGrid(channels=1, **grid),))
    stated: Any = SimpleNamespace(signal=signal, spec=spec)
    assert reason in str(probes.get("code_stability")().build().unsupported_reason(stated))
