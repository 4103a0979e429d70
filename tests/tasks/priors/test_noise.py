"""Noise belongs to (seed, index): not to the batch, and to no other sample."""

from __future__ import annotations

import pytest
import torch

from latentbench.tasks.priors.noise import generator, normal, uniform


@pytest.mark.parametrize("draw", [normal, uniform])
def test_noise_is_a_function_of_seed_and_index(draw) -> None:
    whole = draw(7, range(10), (3, 2))
    assert torch.equal(whole[4:6], draw(7, [4, 5], (3, 2)))
    assert not torch.equal(whole, draw(8, range(10), (3, 2)))
    assert not torch.equal(whole, draw(7, range(10), (3, 2), stream=1))
    assert whole.unique().numel() == whole.numel()


def test_distributions() -> None:
    z, u = normal(0, range(200), (500,)), uniform(0, range(200), (500,))
    assert z.mean().item() == pytest.approx(0, abs=0.01)
    assert z.var().item() == pytest.approx(1, abs=0.02)
    assert u.mean().item() == pytest.approx(0.5, abs=0.005)
    assert 0 <= u.min() <= u.max() < 1
    correlation = torch.corrcoef(z[:50])
    assert (correlation - torch.eye(50)).abs().max() < 0.2


def test_seeds_and_indices_do_not_alias() -> None:
    pairs = [(0, 1), (1, 0), (1, 1), (2**63 - 1, 0), (0, 2**40)]
    assert len({generator(seed, index).random() for seed, index in pairs}) == len(pairs)


def test_golden_numbers() -> None:
    torch.testing.assert_close(
        normal(1, [2], (3,))[0], torch.tensor([-0.360827, -0.208633, -0.120694]), rtol=0, atol=1e-6
    )
