from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.codes import CodeHistogram, code_metrics, entropy_bits


def histogram(codes: torch.Tensor, *sizes: int) -> CodeHistogram:
    result = CodeHistogram(sizes)
    for part in codes.split(7):
        result.update(part)
    return result


def test_entropy_equals_scipy() -> None:
    counts = torch.randint(1, 100, (50,))
    assert entropy_bits(counts) == pytest.approx(stats.entropy(counts.numpy(), base=2))
    assert entropy_bits(torch.tensor([5])) == 0.0


def test_uniform_codes_reach_the_nominal_rate() -> None:
    codes = torch.arange(64).view(4, 1, 4, 4)
    use, perplexity, position, sample = code_metrics([histogram(codes, 64)])
    assert [use.value, perplexity.value, position.value] == pytest.approx([1, 64, 6])
    assert sample.value == pytest.approx(16 * 6)


def test_a_set_is_more_than_its_batches() -> None:
    # Each sample uses one code of its own: perplexity 1 within any sample, 8 over the set.
    codes = torch.arange(8).view(8, 1, 1).expand(8, 1, 9)
    use, perplexity, _, _ = code_metrics([histogram(codes, 16)])
    assert use.value == 0.5
    assert perplexity.value == pytest.approx(8)


def test_heads_are_counted_apart() -> None:
    codes = torch.stack([torch.arange(8).repeat(2), torch.zeros(16, dtype=torch.int64)], 1).view(16, 2, 1)
    result = histogram(codes, 8, 4)
    assert result.perplexities() == pytest.approx([8, 1])
    assert result.used() == [1.0, 0.25]
    use, perplexity, position, _ = code_metrics([result])
    assert (use.value, perplexity.value, position.value) == pytest.approx((0.625, 4.5, 3))


def test_huge_codebooks_are_never_laid_out() -> None:
    codes = torch.tensor([0, 2**40, 2**40, 2**62]).view(4, 1, 1)
    result = histogram(codes, 2**63 - 1)
    assert result.perplexities()[0] == pytest.approx(2**1.5)
    result.merge(histogram(codes, 2**63 - 1))
    assert result.samples == 8
    assert result.perplexities()[0] == pytest.approx(2**1.5)


def test_intervals_come_from_groups() -> None:
    codes = torch.randint(0, 32, (200, 1, 4))
    groups = [histogram(codes[i::10], 32) for i in range(10)]
    with_groups, whole = code_metrics(groups), code_metrics([histogram(codes, 32)])
    for grouped, single in zip(with_groups, whole, strict=True):
        assert grouped.value == pytest.approx(single.value)
        assert grouped.se is not None
        assert single.se is None
    spread = torch.tensor(
        [code_metrics([histogram(torch.randint(0, 32, (200, 1, 4)), 32)])[2].value for _ in range(50)]
    )
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
    bits = {m.name: m.value for m in code_metrics([histogram])}
    assert bits["code_bits_per_sample"] == pytest.approx(bits["code_bits_per_position"] * 5 / 3)
    histogram.update(codes[2:], torch.tensor([0]))
    assert (histogram.samples, histogram.positions) == (4, 5)
