"""The real rate by sample, against entropies, closed forms and the files themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from latentbench.results.metric import Metric
from latentbench.tasks.metrics.codes import CodeHistogram, code_metrics
from latentbench.tasks.metrics.real_rate import (
    BYTES,
    FIXED_LENGTH,
    fixed_length_bits,
    ideal_code_lengths,
    rate_metrics,
    rate_of_codes,
    rate_of_stream,
    rate_of_values,
)
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

MakeSignal = Callable[..., SignalSpec]


def plug_in(counts: torch.Tensor) -> float:
    p = counts[counts > 0].double() / counts.sum()
    return float(-(p * p.log2()).sum())


def entropy_of(codes: torch.Tensor, size: int) -> Metric:
    groups = [CodeHistogram((size,)) for _ in range(10)]
    for number, group in enumerate(groups):
        group.update(codes[number::10])
    return next(m for m in code_metrics(groups) if m.name == "code_bits_per_sample")


def test_ideal_lengths_have_the_plug_in_entropy_as_their_mean() -> None:
    codes = torch.randint(0, 7, (50, 2, 4, 3)) * torch.randint(0, 2, (50, 2, 4, 3))
    bits = ideal_code_lengths(codes)
    by_head = [plug_in(torch.bincount(codes[:, head].flatten())) for head in (0, 1)]
    assert float(bits.mean()) == pytest.approx(12 * sum(by_head))


def test_what_lies_behind_the_end_costs_nothing() -> None:
    codes = torch.tensor([[[0, 1, 9, 9]], [[0, 1, 0, 1]]])
    # two codes, each half of the six that count: one bit each
    assert ideal_code_lengths(codes, torch.tensor([2, 4])).tolist() == [2.0, 4.0]
    assert ideal_code_lengths(codes[:, :, :0], torch.tensor([0, 0])).tolist() == [0.0, 0.0]


def test_a_rate_of_codes_is_the_mean_of_its_samples_with_the_entropys_interval() -> None:
    torch.manual_seed(0)
    codes = torch.multinomial(torch.tensor([8.0, 4, 2, 1, 1]), 200 * 16, replacement=True).view(200, 1, 16)
    entropy = entropy_of(codes, 5)
    rate = rate_of_codes(entropy, ideal_code_lengths(codes), torch.full((200,), 16 * math.log2(5)))
    assert rate.metric.value == entropy.value == pytest.approx(16 * 1.875, rel=0.02)
    assert rate.metric.interval == entropy.interval
    assert float(rate.by_sample.mean()) == pytest.approx(entropy.value)
    # The jackknife's standard error and that of the ideal lengths are two estimates of one number.
    assert float(rate.by_sample.std()) / math.sqrt(200) == pytest.approx(entropy.se, rel=0.5)
    several = rate_of_codes(
        Metric(name="b", value=entropy.value, n=200), ideal_code_lengths(codes), torch.zeros(200)
    ).metric
    assert several.se == pytest.approx(float(rate.by_sample.std()) / math.sqrt(200))


def test_too_few_codes_for_an_entropy_are_counted_at_fixed_length() -> None:
    codes = torch.arange(4096).view(8, 1, 512)
    entropy = entropy_of(codes, 4096)
    assert entropy.value is None
    rate = rate_of_codes(entropy, ideal_code_lengths(codes), torch.full((8,), 512.0 * 12))
    assert (rate.metric.value, rate.metric.interval, rate.metric.protocol) == (512 * 12, None, FIXED_LENGTH)
    assert rate.by_sample.tolist() == [512 * 12] * 8


def test_streams_are_their_bytes(make_signal: MakeSignal) -> None:
    rate = rate_of_stream(torch.tensor([100, 300]))
    assert (rate.metric.value, rate.metric.n, rate.metric.protocol) == (1600.0, 2, BYTES)
    # one standard error of the mean of 800 and 2400 is 800
    assert rate.metric.se == pytest.approx(800.0)
    metrics, by_sample = rate_metrics(rate, make_signal(Modality.WAVEFORM, (4000,), rate=8000))
    by_name = {m.name: m for m in metrics}
    assert set(by_name) == set(by_sample) == {"real_bits", "real_kbits_per_second"}
    assert by_name["real_kbits_per_second"].value == pytest.approx(3.2)  # 1600 bits in half a second
    assert by_name["real_kbits_per_second"].interval == pytest.approx([x / 500 for x in rate.metric.interval or ()])
    assert by_sample["real_kbits_per_second"].tolist() == pytest.approx([1.6, 4.8])


@pytest.mark.parametrize(
    ("modality", "shape", "first", "asked"),
    [
        (Modality.IMAGE, (16, 8), {"real_bits_per_pixel": 1024 / 128}, {}),
        (Modality.VIDEO, (4, 16, 8), {"real_bits_per_pixel": 2.0}, {"real_kbits_per_second": 1.024 / 0.5}),
    ],
)
def test_units_of_pictures(
    make_signal: MakeSignal,
    modality: Modality,
    shape: tuple[int, ...],
    first: dict[str, float],
    asked: dict[str, float],
) -> None:
    metrics, _ = rate_metrics(rate_of_stream(torch.tensor([128, 128])), make_signal(modality, shape))  # 8 frames/s
    assert {m.name: m.value for m in metrics if m.shown == "first"} == pytest.approx(first)
    assert {m.name: m.value for m in metrics if m.shown == "asked"} == pytest.approx(asked)
    assert {m.role for m in metrics} == {"rate"}
    assert {m.direction for m in metrics} == {"lower"}


def test_samples_that_were_not_read_have_no_bits() -> None:
    ideal = torch.tensor([10.0, math.nan, 12.0])
    rate = rate_of_values(Metric(name="rate_bits", value=11.5, se=0.1, n=2), ideal, protocol="p")
    assert rate.by_sample.tolist() == pytest.approx([10.5, math.nan, 12.5], nan_ok=True)
    assert (rate.metric.value, rate.metric.se, rate.metric.n, rate.metric.protocol) == (11.5, 0.1, 2, "p")
    withheld = rate_of_values(Metric(name="rate_bits", value=None), torch.full((3,), math.nan), protocol="p")
    assert withheld.metric.value is None
    assert withheld.by_sample.isnan().all()


def test_fixed_length_is_log2_of_the_codebook_per_code(make_signal: MakeSignal) -> None:
    grid = LatentGrid(shape=(5,), channels=1, codebook_sizes=(16, 4), topology="sequence", variable=True)
    spec = LatentSpec(signal=make_signal(Modality.IMAGE, (8, 8)), grids=(grid,))
    assert fixed_length_bits(spec, 2, torch.tensor([1, 5])).tolist() == [6.0, 30.0]
    assert fixed_length_bits(spec, 2, None).tolist() == [30.0, 30.0]
