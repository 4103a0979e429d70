"""The settings of `intervals.py` for BD-rates: curves of four points, the second with 20 % fewer bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from intervals import Case, Estimate
from torch import Tensor

from latentbench.results.bd_rate import Curve, bd_rate
from latentbench.results.samples import Samples
from latentbench.results.statistics import Entry
from latentbench.tasks.metrics.codes import CodeHistogram, code_metrics
from latentbench.tasks.metrics.real_rate import MeasuredRate, ideal_code_lengths, rate_of_codes, rate_of_stream

SAVING = 0.8


def rate_curves() -> Iterator[Case]:
    for n, seeds in ((32, 1), (64, 1), (256, 1), (64, 2), (64, 3), (256, 3)):

        def bytes_(generator: torch.Generator, n: int = n, seeds: int = seeds) -> Mapping[str, Estimate | None]:
            hard = _normal(generator, n)

            def rates(saving: float) -> list[list[MeasuredRate]]:
                means = [saving * 1000 * torch.exp(0.7 * step + 0.3 * hard - 0.3**2 / 2) for step in range(4)]
                return [[rate_of_stream(m * (1 + 0.05 * _normal(generator, n))) for _ in range(seeds)] for m in means]

            anchor = [seed[:1] for seed in rates(1.0)]
            return _compared(anchor, rates(SAVING), hard, generator)

        yield Case(name=f"bd-rate, bytes, {n}, {seeds} seeds", draw=bytes_, population=100 * (SAVING - 1))

    for n in (64, 256):

        def entropies(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            hard = _normal(generator, n)
            curves = []
            for saving in (1.0, SAVING):
                positions = [round(saving * 20 * 2**step) for step in range(4)]
                curves.append([[_zipf_codes(generator, n, count)] for count in positions])
            return _compared(curves[0], curves[1], hard, generator)

        yield Case(name=f"bd-rate, entropies, {n}", draw=entropies, population=100 * (SAVING - 1))


def _normal(generator: torch.Generator, n: int) -> Tensor:
    return torch.randn(n, generator=generator, dtype=torch.float64)


def _zipf_codes(generator: torch.Generator, n: int, positions: int) -> MeasuredRate:
    """The real rate of `n` samples of independent codes of 64, in whose shares the first are more frequent."""
    shares = 1 / torch.arange(1, 65, dtype=torch.float64)
    codes = torch.multinomial(shares, n * positions, replacement=True, generator=generator).view(n, 1, positions)
    groups = [CodeHistogram((64,)) for _ in range(10)]
    for number, group in enumerate(groups):
        group.update(codes[number::10])
    entropy = next(metric for metric in code_metrics(groups) if metric.name == "code_bits_per_sample")
    return rate_of_codes(entropy, ideal_code_lengths(codes), torch.full((n,), 6.0 * positions))


def _compared(
    anchor: Sequence[Sequence[MeasuredRate]],
    test: Sequence[Sequence[MeasuredRate]],
    hard: Tensor,
    generator: torch.Generator,
) -> Mapping[str, Estimate | None]:
    """The BD-rate of two curves of points and seeds; of both the PSNR rises by 2.5 dB a point, and hard samples have
    less."""
    curves = []
    for points in (anchor, test):
        several = len(points[0]) > 1
        of_seeds = 0.2 * _normal(generator, len(points[0])) if several else torch.zeros(1)
        qualities = []
        for step in range(len(points)):
            means = 24 + 2.5 * step - 2 * hard
            qualities.append([means + of_seed + 0.5 * _normal(generator, len(hard)) for of_seed in of_seeds])
        curves.append(
            Curve(
                label="c",
                rates=[_entry([rate.by_sample for rate in point]) for point in points],
                qualities=[_entry(point) for point in qualities],
            )
        )
    result = bd_rate(*curves)
    return {"now": None if result.low is None or result.high is None else (result.value, (result.low, result.high))}


def _entry(by_seed: Sequence[Tensor]) -> Entry:
    arrays = {seed: np.asarray(values) for seed, values in enumerate(by_seed)}
    samples = {seed: Samples(data="d", values=values) for seed, values in arrays.items()}
    return Entry(values={seed: float(values.mean()) for seed, values in arrays.items()}, read=lambda: samples)
