from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.codes import CodeHistogram, code_metrics


def histogram(codes: torch.Tensor, *sizes: int) -> CodeHistogram:
    result = CodeHistogram(sizes)
    for part in codes.split(7):
        result.update(part)
    return result


def test_uniform_codes_reach_the_nominal_rate_and_no_more() -> None:
    codes = torch.arange(64).repeat(8).view(32, 1, 4, 4)
    use, perplexity, position, sample = code_metrics([histogram(codes, 64)])
    assert [use.value, perplexity.value, position.value] == pytest.approx([1, 64, 6])
    assert sample.value == pytest.approx(16 * 6)
    groups = [histogram(torch.randint(0, 16, (20, 1, 16)), 16) for _ in range(10)]
    for metric, most in zip(code_metrics(groups), (1, 16, 4, 64), strict=True):
        assert metric.value is not None
        assert metric.interval is not None
        assert metric.interval[0] <= metric.value <= metric.interval[1] <= most


def test_a_set_is_more_than_its_batches() -> None:
    # Each sample uses one code of its own: perplexity 1 within any sample, 8 over the set.
    codes = torch.arange(8).view(8, 1, 1).expand(8, 1, 900)
    use, perplexity, _, _ = code_metrics([histogram(codes, 16)])
    assert use.value == 0.5
    assert perplexity.value == pytest.approx(8, rel=1e-3)


def test_heads_are_counted_apart() -> None:
    codes = torch.stack([torch.arange(8).repeat(200), torch.zeros(1600, dtype=torch.int64)], 1).view(1600, 2, 1)
    result = histogram(codes, 8, 4)
    assert result.perplexities() == pytest.approx([8, 1], rel=4e-3)
    assert result.used() == [1.0, 0.25]
    use, perplexity, position, _ = code_metrics([result])
    assert (use.value, perplexity.value, position.value) == pytest.approx((0.625, 4.5, 3), rel=4e-3)


@pytest.mark.parametrize(("size", "tokens"), [(64, 1024), (1024, 8192)])
def test_the_interval_holds_the_populations_entropy(size: int, tokens: int) -> None:
    generator = torch.Generator().manual_seed(size)
    shares = 1 / torch.arange(1, size + 1).double()
    shares = shares / shares.sum()
    entropy = float(-(shares * shares.log2()).sum())
    held, estimates, observed = 0, [], []
    for _ in range(60):
        codes = torch.multinomial(shares, tokens, replacement=True, generator=generator).view(-1, 1, 16)
        bits = code_metrics([histogram(codes[i::10], size) for i in range(10)])[2]
        assert bits.value is not None
        assert bits.interval is not None
        estimates.append(bits.value)
        held += bits.interval[0] <= entropy <= bits.interval[1]
        counts = torch.bincount(codes.flatten(), minlength=size)
        observed.append(float(stats.entropy(counts.numpy(), base=2)))
    assert held >= 53
    bias, scatter = sum(estimates) / 60 - entropy, float(torch.tensor(estimates).std())
    assert abs(bias) < 0.5 * scatter
    assert sum(observed) / 60 - entropy < -2 * abs(bias)


def test_too_few_tokens_withhold_the_values() -> None:
    codes = torch.randint(0, 4096, (64, 1, 16))
    metrics = code_metrics([histogram(codes[i::10], 4096) for i in range(10)])
    for metric in metrics:
        assert (metric.value, metric.se, metric.interval) == (None, None, None)
        assert metric.protocol.endswith("withheld: fewer than 5 tokens per code that occurs")
    # A collapsed head of the same codebook has enough.
    assert code_metrics([histogram(codes % 3, 4096)])[2].value == pytest.approx(math.log2(3), abs=0.02)


def test_huge_codebooks_are_never_laid_out() -> None:
    codes = torch.tensor([0, 2**40, 2**40, 2**62]).repeat(500).view(2000, 1, 1)
    result = histogram(codes, 2**63 - 1)
    assert result.perplexities()[0] == pytest.approx(2**1.5, rel=2e-3)
    result.merge(histogram(codes, 2**63 - 1))
    assert result.samples == 4000
    assert result.perplexities()[0] == pytest.approx(2**1.5, rel=2e-3)


def test_intervals_come_from_groups() -> None:
    def draw() -> torch.Tensor:
        return torch.minimum(*torch.randint(0, 32, (2, 200, 1, 4)))

    codes = draw()
    groups = [histogram(codes[i::10], 32) for i in range(10)]
    with_groups, whole = code_metrics(groups), code_metrics([histogram(codes, 32)])
    for grouped, single in zip(with_groups, whole, strict=True):
        assert grouped.value == pytest.approx(single.value)
        assert grouped.se is not None
        assert single.se is None
    spread = torch.tensor([code_metrics([histogram(draw(), 32)])[2].value for _ in range(50)])
    assert 0.4 < with_groups[2].se / float(spread.std()) < 2.5


def test_an_empty_set_has_no_values() -> None:
    assert [m.value for m in code_metrics([CodeHistogram((8,))])] == [None] * 4


def test_bad_codes_are_refused() -> None:
    with pytest.raises(UserError, match=r"head 0 must lie in 0\.\.7, got 3\.\.8"):
        CodeHistogram((8,)).update(torch.tensor([[[3, 8]]]))
    with pytest.raises(UserError, match=r"\[N, 2, \*grid\]"):
        CodeHistogram((8, 8)).update(torch.zeros(1, 1, 4, dtype=torch.int64))
    with pytest.raises(UserError, match="different codebooks"):
        CodeHistogram((8,)).merge(CodeHistogram((9,)))
    assert math.isclose(CodeHistogram((8,)).perplexities()[0], 1)


def test_what_lies_behind_a_sequences_end_is_not_counted() -> None:
    codes = torch.tensor([[[1, 1, 0, 0], [2, 3, 0, 0]], [[1, 2, 3, 0], [3, 3, 3, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    histogram = CodeHistogram([4, 4])
    histogram.update(codes, torch.tensor([2, 3, 0]))
    assert (histogram.samples, histogram.positions) == (3, 5)
    assert sorted(histogram.counts(0).tolist()) == [1, 1, 3]
    assert sorted(histogram.counts(1).tolist()) == [1, 4]
    many = CodeHistogram([4, 4])
    for _ in range(4):
        many.update(codes, torch.tensor([2, 3, 0]))
    bits = {m.name: m.value for m in code_metrics([many])}
    assert bits["code_bits_per_sample"] == pytest.approx(bits["code_bits_per_position"] * 5 / 3)
    histogram.update(codes[2:], torch.tensor([0]))
    assert (histogram.samples, histogram.positions) == (4, 5)
