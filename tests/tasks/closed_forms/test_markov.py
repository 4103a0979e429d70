from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.closed_forms.markov import BackOff, contexts, fitted
from latentbench.tokenizers.spec import LatentSpec

Spec = Callable[..., LatentSpec]
STEP = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.5, 0.5], [0.9, 0.0, 0.1]])


def chain(n: int, length: int) -> torch.Tensor:
    codes = torch.zeros(n, 1, length, dtype=torch.int64)
    for t in range(1, length):
        codes[:, 0, t] = torch.multinomial(STEP[codes[:, 0, t - 1]], 1)[:, 0]
    return codes


def test_estimates_are_witten_and_bells_by_hand() -> None:
    # "a b a b a c" as codes 0, 1, 2 after one code each
    codes, before = torch.tensor([1, 0, 1, 0, 2]), torch.tensor([[0], [1], [0], [1], [0]])
    model = BackOff(codes, before, 4)
    alone = lambda count: (count + 3 / 4) / (5 + 3)  # noqa: E731  # 3 different codes of 4 follow nothing
    expected = [(2 + 2 * alone(2)) / (3 + 2), (0 + 2 * alone(0)) / (3 + 2), (2 + 1 * alone(2)) / (2 + 1), alone(1)]
    got = model.log2(torch.tensor([1, 3, 0, 2]), torch.tensor([[0], [0], [1], [3]])).exp2()
    assert got.tolist() == pytest.approx(expected)  # the last context has never been seen
    everything = torch.arange(4)
    for context in range(5):
        total = model.log2(everything, torch.full((4, 1), context)).exp2().sum()
        assert float(total) == pytest.approx(1)


def test_draws_have_the_estimated_probabilities() -> None:
    codes = chain(200, 20)
    (model,) = fitted(codes, (3,))
    before = torch.full((40_000, 1), 1)
    got = torch.bincount(model.draw(before, torch.Generator().manual_seed(0)), minlength=3) / 40_000
    expected = model.log2(torch.arange(3), before[:3]).exp2()
    torch.testing.assert_close(got.double(), expected, atol=0.01, rtol=0)


def test_a_chain_is_drawn_as_one(spec: Spec) -> None:
    data = chain(400, 16)
    prior: Any = closed_forms.get("markov")().build(spec((16,), 4, (3,)))
    prior.fit(data)
    codes = prior.sample(2000, seed=0, batch_size=64).codes
    assert codes.shape == (2000, 1, 16)
    assert codes.dtype == torch.int64
    assert (codes[:, 0, 0] == 0).double().mean() > 0.98  # every chain began so, and the border is a context
    pairs = torch.bincount((codes[..., :-1] * 3 + codes[..., 1:]).flatten(), minlength=9).view(3, 3)
    torch.testing.assert_close(pairs / pairs.sum(1, keepdim=True), STEP, atol=0.05, rtol=0)


def test_contexts_are_the_head_before_and_one_step_back() -> None:
    codes = torch.stack([torch.arange(6).view(2, 3), 10 + torch.arange(6).view(2, 3)])[None]
    first, second = (contexts(codes, head, (6, 20)) for head in (0, 1))
    assert first[0, 1, 2].tolist() == [4, 2]  # left, up
    assert first[0, 0, 0].tolist() == [6, 6]  # beyond the border
    assert second[0, 1, 2].tolist() == [5, 14, 12]


def test_heads_that_copy_each_other_do_so_in_samples(spec: Spec) -> None:
    codes = torch.randint(8, (500, 1, 4, 4)).expand(-1, 2, -1, -1)
    prior: Any = closed_forms.get("markov")().build(spec((4, 4), 4, (8, 8)))
    prior.fit(codes)
    got = prior.sample(200, seed=0, batch_size=64).codes
    assert (got[:, 0] == got[:, 1]).double().mean() > 0.85
    alone: Any = closed_forms.get("order_0")().build(spec((4, 4), 4, (8, 8)))
    alone.fit(codes)
    got = alone.sample(200, seed=0, batch_size=64).codes
    assert (got[:, 0] == got[:, 1]).double().mean() == pytest.approx(1 / 8, abs=0.03)


def test_a_huge_codebook_has_shorter_contexts() -> None:
    codes = torch.randint(2**30, (50,))
    model = BackOff(codes, torch.zeros(50, 3, dtype=torch.int64), 2**30)
    assert model.order == 1
    assert set(model.draw(torch.zeros(20, 3, dtype=torch.int64), torch.Generator()).tolist()) - set(codes.tolist()) != {
        0
    }
