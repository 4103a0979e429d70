"""Measured rate against the closed form of a quantised Gaussian."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentbench.results.metric import Metric
from latentbench.tasks.rate_bits import INCREASE, rate_of_codes, rate_of_values


def measured(tokenizer: Any, signals: torch.Tensor, size: int = 64) -> tuple[Metric, torch.Tensor]:
    return rate_of_values(tokenizer.decode, [(x, tokenizer.encode(x)) for x in signals.split(size)])


@pytest.mark.parametrize("deviation", [0.05, 0.2])
@pytest.mark.parametrize("ratio", [0.1, 0.3])
def test_a_gaussian_needs_the_bits_of_the_closed_form(toys: SimpleNamespace, deviation: float, ratio: float) -> None:
    # The decoder adds an error of `ratio` deviations. Uniform rounding with a fine step adds step² / 12 to the squared
    # error, which may grow by 5 %: step = ratio · sqrt(12 · 0.05) deviations. The bits per value are then
    # h(X) - log2(step), the differential entropy of a Gaussian being log2(2πe) / 2 (Cover & Thomas, theorem 8.3.1).
    signals = toys.Signals(toys.IMAGE, 64, 0, scale=deviation)
    tokenizer = toys.Identity(error=ratio * deviation)
    metric, by_sample = measured(tokenizer, signals.data, 16)
    step = ratio * math.sqrt(12 * INCREASE)
    bits = toys.IMAGE.elements * (math.log2(2 * math.pi * math.e) / 2 - math.log2(step))
    # the step is right to 5 %, always on the fine side
    assert metric.value is not None
    assert bits - 20 < metric.value < bits + toys.IMAGE.elements * math.log2(1.06)
    assert (metric.name, metric.unit, metric.n) == ("rate_bits", "bit", 64)
    # by sample it is the plug-in entropy, lower by what the estimate adds for bins not seen
    assert 0.97 * metric.value < float(by_sample.mean()) <= metric.value


def test_channels_are_rounded_by_their_own_deviation(toys: SimpleNamespace) -> None:
    # An affine change of a channel that the decoder undoes must not change the rate.
    signals = toys.Signals(toys.IMAGE, 32, 0, scale=0.1)
    scales = torch.tensor([1.0, 10.0, 0.01]).view(1, 3, 1, 1)

    class Scaled(toys.Identity):  # type: ignore[misc, name-defined]
        def encode(self, signal: torch.Tensor) -> object:
            return super().encode(signal * scales + scales)

        def decode(self, latents: object) -> torch.Tensor:
            return latents.values / scales - 1 + 0.02  # type: ignore[attr-defined]

    plain = measured(toys.Identity(error=0.02), signals.data)[0].value
    scaled = measured(Scaled(), signals.data)[0].value
    assert scaled == pytest.approx(plain, rel=0.03)  # the step is right to 5 %


def test_where_no_rounding_is_harmless_there_is_no_value(toys: SimpleNamespace) -> None:
    signals = toys.Signals(toys.IMAGE, 8, 0)
    assert measured(toys.Identity(), signals.data)[0].value is None  # a lossless decoder
    assert measured(toys.Identity(error=math.nan), signals.data)[0].value is None


def test_a_latent_that_does_not_matter_costs_almost_nothing(toys: SimpleNamespace) -> None:
    class Deaf(toys.Identity):  # type: ignore[misc, name-defined]
        def decode(self, latents: object) -> torch.Tensor:
            return torch.zeros_like(latents.values)  # type: ignore[attr-defined]

    signals = toys.Signals(toys.IMAGE, 32, 0)
    value = measured(Deaf(), signals.data)[0].value
    # the coarsest step that is tried is 4 deviations: nearly all values fall in one bin
    assert value is not None
    assert value < 0.5 * toys.IMAGE.elements


def test_codes_keep_their_own_entropy() -> None:
    bits = Metric(name="code_bits_per_sample", value=40.0, se=0.5, interval=(39.0, 41.0), n=10, unit="bit")
    metric = rate_of_codes(bits)
    assert (metric.name, metric.value, metric.se, metric.interval, metric.n) == (
        "rate_bits",
        40.0,
        0.5,
        (39.0, 41.0),
        10,
    )
