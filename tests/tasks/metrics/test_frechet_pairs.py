"""Fréchet distances of reconstructions to their own originals."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.samples import pseudovalues
from latentbench.results.statistics import Entry, difference_interval
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance, frechet_metric
from latentbench.tasks.metrics.frechet_pairs import paired_frechet_metric

SPECTRUM = torch.arange(1, 33).double() ** -0.75  # deviations


def draw(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(n, len(SPECTRUM), generator=generator, dtype=torch.float64) * SPECTRUM


@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 100), (300, 300, 24), (48, 80, 100), (150, 400, 24)])
def test_a_group_leaves_both_sides(n: int, m: int, d: int) -> None:
    y = torch.randn(m, d, dtype=torch.float64)
    x = 0.9 * y[:n] + 0.2 * torch.randn(n, d, dtype=torch.float64) + 0.1
    metric, left_out = paired_frechet_metric("rfd_net", x, FrechetReference.of(y), protocol="net", groups=5)
    expected = []
    for group in range(5):
        stays = torch.arange(m) % 5 != group
        expected.append(frechet_distance(x[stays[:n]], FrechetReference.of(y[stays])))
    assert left_out == pytest.approx(expected, rel=1e-6)
    assert metric.value == frechet_distance(x, FrechetReference.of(y))
    mean = sum(expected) / 5
    assert metric.se == pytest.approx(math.sqrt(4 / 5 * sum((v - mean) ** 2 for v in expected)), rel=1e-4)


def test_a_missing_sample_leaves_the_others_groups_alone() -> None:
    y = torch.randn(60, 8, dtype=torch.float64)
    x = y + 0.1
    x[7] = math.nan
    metric, left_out = paired_frechet_metric("rfd_net", x, FrechetReference.of(y), protocol="", groups=5)
    assert (metric.n, metric.missing, len(left_out)) == (59, 1, 5)
    stays = torch.arange(60) % 5 != 2  # sample 7 is of group 2
    assert left_out[2] == pytest.approx(frechet_distance(x[stays], FrechetReference.of(y[stays])), rel=1e-6)


def test_bad_input_is_refused() -> None:
    y = torch.randn(20, 8)
    with pytest.raises(UserError, match="need as many originals in the reference, which holds 0"):
        paired_frechet_metric("rfd_net", y, FrechetReference.of(y, keep_features=False), protocol="")
    with pytest.raises(UserError, match="21 reconstructions need as many originals"):
        paired_frechet_metric("rfd_net", torch.randn(21, 8), FrechetReference.of(y), protocol="")
    metric, left_out = paired_frechet_metric("rfd_net", y[:1] * math.nan, FrechetReference.of(y), protocol="")
    assert (metric.value, metric.interval, left_out) == (None, None, [])


@pytest.mark.slow
def test_the_interval_holds_the_expected_value_and_is_no_wider_than_it_must() -> None:
    generator = torch.Generator().manual_seed(0)
    values, halves, independent = [], [], []
    for _ in range(100):
        y = draw(64, generator)
        x = 0.95 * y + 0.1 * draw(64, generator)
        reference = FrechetReference.of(y)
        metric, _ = paired_frechet_metric("rfd_net", x, reference, protocol="")
        assert metric.value is not None
        assert metric.interval is not None
        values.append(metric.value)
        halves.append(metric.interval[1] - metric.value)
        independent.append(2 * (frechet_metric("rfd_net", x, reference, protocol="").se or 0.0))
    distances, half = torch.tensor(values), torch.tensor(halves)
    covered = ((distances - distances.mean()).abs() <= half).double().mean()
    assert 0.89 <= float(covered) <= 1.0
    assert 0.8 < float(half.mean() / (1.96 * distances.std())) < 1.4
    assert sum(independent) / 100 > 5 * float(half.mean())  # what leaving groups out of one side alone claims


def by_group(metric: Metric, left_out: list[float]) -> Entry:
    """A cell as tables compare it."""
    assert metric.value is not None
    samples = pseudovalues(metric.value, left_out, "data/x")
    return Entry(values={0: metric.value}, read=lambda: {0: samples})


@pytest.mark.slow
def test_two_cells_are_told_apart_by_their_difference_on_shared_samples() -> None:
    generator = torch.Generator().manual_seed(1)
    apart = ties = alone = 0
    for _ in range(30):
        y = draw(64, generator)
        reference = FrechetReference.of(y)
        noise = [0.1, 0.2, 0.2]
        cells = [paired_frechet_metric("r", y + level * draw(64, generator), reference, protocol="") for level in noise]
        values = [metric.value or 0.0 for metric, _ in cells]
        different, same = (difference_interval(by_group(*a), by_group(*b)) for a, b in itertools.pairwise(cells))
        old = [frechet_metric("r", y + level * draw(64, generator), reference, protocol="") for level in noise[:2]]
        assert different is not None
        assert same is not None
        apart += different.high < 0
        ties += not same.significant
        alone += abs(values[0] - values[1]) > 1.96 * math.hypot(*(metric.se or 0.0 for metric in old))
    assert apart >= 28
    assert alone == 0
    assert ties >= 26


def jpeg_features(images: np.ndarray, quality: int | None) -> torch.Tensor:
    """Means and log gradient energies of 8 x 8 patches, which compression changes, of uint8 `[N, 32, 32]`."""
    rows = []
    for image in images:
        if quality is not None:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=quality)
            image = np.asarray(Image.open(buffer))
        x = image.astype(np.float64) / 255
        gradients = [np.abs(np.diff(x, axis=axis, append=0)) for axis in (0, 1)]
        patches = [part.reshape(4, 8, 4, 8).mean((1, 3)).ravel() for part in (x, *gradients)]
        rows.append(np.concatenate([patches[0], *(np.log(p + 1e-3) for p in patches[1:])]))
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize(
    ("n", "qualities", "told_apart"), [(96, (90, 30), True), (96, (50, 51), False), (12, (50, 51), False)]
)
def test_jpeg_of_real_difference_is_told_apart_and_a_tie_stays_one(
    n: int, qualities: tuple[int, int], told_apart: bool
) -> None:
    verdicts = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(random.standard_normal((n, 32, 32)), (0, 1.5, 1.5))
        images = np.clip(128 + 160 * smooth, 0, 255).astype(np.uint8)
        reference = FrechetReference.of(jpeg_features(images, None))
        cells = [
            paired_frechet_metric("rfd_net", jpeg_features(images, quality), reference, protocol="")
            for quality in qualities
        ]
        difference = difference_interval(*(by_group(*cell) for cell in cells))
        assert difference is not None
        verdicts.append(difference.significant)
    assert verdicts == [told_apart] * 5
