"""Samples of N(0, I) through a decoder, against a distribution whose distance is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.priors.noise import normal
from latentbench.tasks.probes.config import NormalSamplesConfig
from latentbench.tasks.probes.normal_samples import SAMPLES


def test_it_is_the_distance_of_decoded_noise(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    net = toys.Pixels()
    probe_input = probed(toys.Identity(error=0.2), None, net, seed=3)
    metric = measured("normal_samples", probe_input)["normal_fd_pixels"]
    decoded = (normal(3, range(SAMPLES), (3, 16, 16)) + 0.2).clamp(-1, 1)
    expected = frechet_distance(net(decoded), FrechetReference.of(net(probe_input.data.val.data)))
    assert metric.value == pytest.approx(expected, rel=1e-6)
    assert (metric.n, metric.direction) == (SAMPLES, "lower")
    assert "z from N(0, I)" in metric.protocol


def test_latents_of_that_distribution_are_nearer_than_others(
    toys: SimpleNamespace, probed: Any, measured: Callable[..., Any]
) -> None:
    class Scaled(toys.Identity):  # type: ignore[misc,name-defined]
        """Latents are the signal over its deviation (0.4), or far larger."""

        factor = 0.4

        def encode(self, signal: torch.Tensor) -> Any:
            return super().encode(signal / self.factor)

        def decode(self, latents: Any) -> torch.Tensor:
            return super().decode(latents) * self.factor

    class Large(Scaled):
        factor = 0.004

    near, far = (measured("normal_samples", probed(kind(), None, toys.Pixels())) for kind in (Scaled, Large))
    assert near["normal_fd_pixels"].value < 0.3 * far["normal_fd_pixels"].value


def test_codes_and_missing_nets_are_refused(toys: SimpleNamespace, probed: Any) -> None:
    assert "codes" in NormalSamplesConfig().build().unsupported_reason(probed(toys.Levels()))
    assert "net" in NormalSamplesConfig().build().unsupported_reason(probed(toys.Identity()))
    sound_net: nn.Module = toys.Pixels("rendered", reads="waveform")
    probe_input = probed(toys.Identity(toys.SOUND))
    assert "net" in NormalSamplesConfig().build().unsupported_reason(
        probe_input.__class__(**{**vars(probe_input), "nets": {"rendered": sound_net}})
    )
