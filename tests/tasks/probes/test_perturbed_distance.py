"""Errors on latents whose distances are known by a second computation, and codes whose neighbours are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.priors.noise import normal
from latentbench.tasks.probes.config import PerturbedDistanceConfig
from latentbench.tasks.probes.latent_noise import SCALES
from latentbench.tasks.probes.perturbed_distance import NEIGHBOURS, SHARES, near_codes
from latentbench.tokenizers.bottlenecks.base import Bottleneck
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec


class Line(Bottleneck):
    """Codes that stand for points on a line, in an order of their own."""

    def __init__(self, points: Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.points = points

    def lookup(self, codes: Tensor) -> Tensor:
        return self.points[codes]


def told(toys: SimpleNamespace, size: int = 16) -> Any:
    """Levels whose codes' values are known."""
    tokenizer = toys.Levels(size)
    tokenizer.bottleneck = Line((2 * (torch.arange(size) + 0.5) / size - 1) / 4)
    return tokenizer


def test_noise_is_measured_as_a_second_computation_measures_it(
    toys: SimpleNamespace, probed: Any, measured: Any
) -> None:
    net, data = toys.Pixels(), toys.Data(val=40)
    probe_input = probed(toys.Identity(), data, net, seed=5)
    metrics = measured("perturbed_distance", probe_input)
    x, reference = data.val.data, FrechetReference.of(net(data.val.data))
    noise = normal(5, range(40), (3, 16, 16)) * probe_input.latents.std.float().view(1, 3, 1, 1)
    values = [frechet_distance(net((x + scale * noise).clamp(-1, 1)), reference) for scale in (0.0, *SCALES)]
    assert metrics["latent_noise_fd_pixels"].value == pytest.approx(np.mean(values[1:]), rel=1e-5)
    slope = np.polyfit((0.0, *SCALES), values, 1)[0]
    assert metrics["latent_noise_fd_slope_pixels"].value == pytest.approx(slope, rel=1e-5)
    for metric in metrics.values():
        assert metric.interval is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1]
        assert (metric.n, metric.direction) == (40, "lower")


@pytest.mark.parametrize("recipe", ["vq-vae", "rvq", "multi-head-vq", "fsq", "lfq"])
def test_near_codes_are_those_whose_values_are_near(recipe: str, make_signal: Any) -> None:
    signal: SignalSpec = make_signal("image", (16, 16))
    tokenizer: Any = build(resolve(recipe, signal, {"downsample": 4, "width": 8}, where="test"))
    spec = tokenizer.spec.grid
    for head, (size, table) in enumerate(
        zip(spec.codebook_sizes, near_codes(tokenizer.bottleneck, spec.codebook_sizes, spec.shape), strict=True)
    ):
        assert table.shape == (size, min(NEIGHBOURS, size - 1))
        for code in range(0, size, max(1, size // 5)):
            codes = torch.zeros(size, len(spec.codebook_sizes), *spec.shape, dtype=torch.int64)
            codes[:, head] = torch.arange(size).view(-1, 1, 1)
            with torch.no_grad():
                values = tokenizer.bottleneck.lookup(codes)[..., 0, 0].double()
            apart = (values - values[code]).norm(dim=1)
            apart[code] = torch.inf
            torch.testing.assert_close(apart[table[code]], apart.sort().values[: table.shape[1]])


def test_more_and_farther_codes_lead_farther(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    net = toys.Pixels()
    values = {}
    for size in (16, 64):  # the eight nearest of 64 are nearer
        probe_input = probed(told(toys, size), toys.Data(val=60), net)
        (metric,) = measured("perturbed_distance", probe_input).values()
        assert (metric.name, metric.n) == ("near_codes_fd_pixels", 60)
        assert metric.interval is not None
        values[size] = metric.value
    assert values[16] > values[64] > 0
    for size in (3, 60):  # batches make no difference
        again = probed(told(toys, 16), toys.Data(val=60), net, batch_size=size)
        assert measured("perturbed_distance", again)["near_codes_fd_pixels"].value == pytest.approx(values[16])


def test_the_shares_are_those_that_are_told(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    seen: list[Tensor] = []

    class Watched(toys.Levels):  # type: ignore[misc,name-defined]
        def decode(self, latents: Any) -> Tensor:
            seen.append(latents.codes)
            return super().decode(latents)

    tokenizer = Watched(64)
    tokenizer.bottleneck = told(toys, 64).bottleneck
    data = toys.Data(val=60)
    measured("perturbed_distance", probed(tokenizer, data, toys.Pixels(), batch_size=60))
    codes = tokenizer.encode(data.val.data).codes
    before = torch.zeros_like(codes, dtype=torch.bool)
    for share, moved in zip(SHARES, seen, strict=True):
        other = moved != codes
        assert float(other.float().mean()) == pytest.approx(share, abs=0.05)
        assert not (before & ~other).any()
        assert (moved - codes).abs().max() <= NEIGHBOURS  # at the line's ends all neighbours are on one side
        before = other


def test_what_can_t_be_told_is_refused(toys: SimpleNamespace, probed: Any) -> None:
    probe = PerturbedDistanceConfig().build()
    assert "net" in probe.unsupported_reason(probed(toys.Identity()))
    assert "near each other" in probe.unsupported_reason(probed(toys.Levels(), None, toys.Pixels()))
    assert probe.unsupported_reason(probed(told(toys), None, toys.Pixels())) is None
