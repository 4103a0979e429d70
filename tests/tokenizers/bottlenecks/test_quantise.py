"""The pure functions of vector quantisation against naive ones."""

from __future__ import annotations

import pytest
import torch

from latentbench.tokenizers.bottlenecks import quantise
from latentbench.tokenizers.bottlenecks.quantise import k_means, look_up, nearest, random_rows, sums_per_code


@pytest.mark.parametrize("block", [1, 64, 2**21])
def test_nearest_is_the_smallest_distance(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(quantise.BLOCK, "cpu", block)
    rows, codebook = torch.randn(2, 37, 5), torch.randn(2, 16, 5)
    assert torch.equal(nearest(rows, codebook), torch.cdist(rows, codebook).argmin(-1))


def test_no_score_matrix_exceeds_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    product = torch.mm

    def watched(*args: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        sizes.append(out.numel())
        return product(*args, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    monkeypatch.setitem(quantise.BLOCK, "cpu", 1000)
    nearest(torch.randn(1, 100, 4), torch.randn(1, 64, 4))
    assert max(sizes) <= 1000
    assert sum(sizes) == 100 * 64


def test_sums_and_look_up_are_those_of_the_one_hot_matrix() -> None:
    rows, codebook = torch.randn(3, 50, 4), torch.randn(3, 8, 4)
    codes = torch.randint(8, (3, 50))
    one_hot = torch.nn.functional.one_hot(codes, 8).float()
    counts, sums = sums_per_code(rows, codes, 8)
    assert torch.equal(counts, one_hot.sum(1))
    torch.testing.assert_close(sums, one_hot.transpose(1, 2) @ rows)
    assert torch.equal(look_up(codes, codebook), one_hot @ codebook)


def test_k_means_finds_separate_clusters() -> None:
    centres = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]]])
    rows = (centres.unsqueeze(2) + 0.1 * torch.randn(1, 4, 200, 2)).reshape(1, 800, 2)
    learned = k_means(rows[:, torch.randperm(800)], 4, 20)
    distance = torch.cdist(centres, learned).amin(-1)
    assert distance.max() < 0.05


def test_k_means_lowers_the_error_to_a_fixed_point() -> None:
    rows = torch.randn(1, 500, 3)
    torch.manual_seed(1)
    start = k_means(rows, 10, 0)
    torch.manual_seed(1)
    end = k_means(rows, 10, 25)
    errors = [torch.cdist(rows, codebook).amin(-1).square().mean() for codebook in (start, end)]
    assert errors[1] < 0.8 * errors[0]
    codes = nearest(rows, end)[0]
    means = torch.stack([rows[0, codes == k].mean(0) for k in range(10)])
    assert (means - end[0]).norm(dim=1).max() < 0.15


def test_spherical_means_stay_on_the_sphere() -> None:
    rows = torch.nn.functional.normalize(torch.randn(1, 300, 4), dim=-1)
    torch.testing.assert_close(k_means(rows, 8, 5, spherical=True).norm(dim=-1), torch.ones(1, 8))


def test_random_rows_do_not_repeat_where_there_are_enough() -> None:
    rows = torch.arange(20.0).view(1, 20, 1)
    assert random_rows(rows, 20).flatten().sort().values.tolist() == list(range(20))
    assert random_rows(rows, 50).shape == (1, 50, 1)
