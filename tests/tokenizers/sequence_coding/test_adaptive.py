"""How many codes each sample gets: by brute force over all levels, and against random allocations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.sequence_coding.adaptive import calibrated, choose

LENGTHS = torch.tensor([2, 5, 8, 16])


def errors(count: int = 200) -> Tensor:
    """Errors that fall with the length, by more for some samples; a few rise."""
    scale = torch.rand(count, 1) ** 3
    return scale / LENGTHS + 0.01 * torch.rand(count, len(LENGTHS))


def mean(tried: Tensor, level: Tensor, rule: str) -> float:
    return LENGTHS[choose(tried, LENGTHS, level, rule)].double().mean().item()  # type: ignore[arg-type]


def test_the_first_that_is_good_enough_is_taken_and_else_the_last() -> None:
    tried = torch.tensor([[3.0, 2.0, 1.0, 0.0], [1.0, 3.0, 0.0, 2.0], [9.0, 9.0, 9.0, 9.0]])
    assert choose(tried, LENGTHS, torch.tensor(2.0), "threshold").tolist() == [1, 0, 3]
    assert choose(tried, LENGTHS, torch.tensor(-1.0), "threshold").tolist() == [3, 3, 3]


def test_a_slope_takes_what_costs_least() -> None:
    tried = errors(50)
    level = torch.tensor(0.003)
    expected = [min(range(4), key=lambda k, row=row: row[k] + 0.003 * LENGTHS[k]) for row in tried]  # type: ignore[misc]
    assert choose(tried, LENGTHS, level, "slope").tolist() == expected
    assert choose(tried, LENGTHS, torch.tensor(10.0), "slope").unique().tolist() == [0]


@pytest.mark.parametrize("budget", [2.0, 3.7, 9.0, 15.5])
def test_the_level_is_the_smallest_that_meets_the_budget(budget: float) -> None:
    tried = errors()
    level = calibrated(tried, LENGTHS, budget, "threshold")
    assert level.dtype == torch.float32
    # Only the errors themselves can be where the mean changes.
    candidates = tried.flatten().sort().values
    smallest = next(t for t in candidates if mean(tried, t, "threshold") <= budget)
    torch.testing.assert_close(level, smallest)
    assert budget - 14 / 200 <= mean(tried, level, "threshold") <= budget


@pytest.mark.parametrize("budget", [2.0, 3.7, 9.0])
def test_no_other_allocation_of_as_many_codes_has_a_smaller_error(budget: float) -> None:
    tried = errors()
    level = calibrated(tried, LENGTHS, budget, "slope")
    choice = choose(tried, LENGTHS, level, "slope")
    total, best = int(LENGTHS[choice].sum()), tried.gather(1, choice[:, None]).mean()
    assert budget - 14 / 200 <= total / 200 <= budget
    others = 0
    for _ in range(300):
        # changes here and there of the best, most of which keep the budget or save a little
        other = torch.where(torch.rand(200) < 0.05, torch.randint(4, (200,)), choice)
        if int(LENGTHS[other].sum()) <= total:
            others += 1
            assert tried.gather(1, other[:, None]).mean() >= best - 1e-7
    assert others > 5 or budget == 2.0


@pytest.mark.parametrize("rule", ["threshold", "slope"])
def test_a_budget_for_all_keeps_all(rule: str) -> None:
    tried = errors()
    tried[:, -1] = 0  # never better with less
    assert calibrated(tried, LENGTHS, 16.0, rule).item() == 0.0  # type: ignore[arg-type]
    assert mean(tried, torch.zeros(()), rule) == 16
