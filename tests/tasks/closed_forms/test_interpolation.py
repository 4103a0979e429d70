from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.closed_forms.interpolation import halfway
from latentbench.tokenizers.spec import LatentSpec


def test_halfway_is_the_middle_of_the_great_circle() -> None:
    angle = torch.tensor([0.0, 0.5, 2.0, 3.0])
    a = torch.tensor([[2.0, 0.0]]).expand(4, -1)
    b = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    middle = 2 * torch.stack([(angle / 2).cos(), (angle / 2).sin()], 1)
    torch.testing.assert_close(halfway(a, b), middle)


def test_samples_lie_between_a_latent_and_one_of_its_ten_nearest(spec: Callable[..., LatentSpec]) -> None:
    angles = 2 * torch.pi * torch.arange(200) / 200
    data = torch.stack([angles.cos(), angles.sin()], 1).view(200, 2, 1)
    prior: Any = closed_forms.get("interpolation")().build(spec((1,), 2))
    prior.fit(data)
    got = prior.sample(2000, seed=0, batch_size=64).values.flatten(1)
    torch.testing.assert_close(got.norm(dim=1), torch.ones(2000))
    # Neighbours are 1 to 5 steps away on either side: half-way lies on a multiple of half a step.
    steps = torch.atan2(got[:, 1], got[:, 0]).double() * 400 / (2 * math.pi)
    assert (steps - steps.round()).abs().max() < 1e-3
    odd = (steps.round() % 2).mean()
    assert float(odd) == pytest.approx(6 / 10, abs=0.05)  # 1, 3 and 5 of 1 to 5, all about as near


def test_a_far_neighbour_is_drawn_less(spec: Callable[..., LatentSpec]) -> None:
    # Three latents in one direction, of which the third is far: softmax(-MSE) of 1 and 9 from the first.
    data = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    prior: Any = closed_forms.get("interpolation")().build(spec((1,), 1))
    prior.fit(data)
    got = prior.sample(9000, seed=0, batch_size=64).values.flatten()
    from_first = {round(x, 3): float((got - x).abs().lt(1e-3).double().mean()) for x in (1.5, 2.5, 3.0)}
    first = 1 / (1 + math.exp(-8))  # 1 -> 2, not 4
    second = 1 / (1 + math.exp(-3))  # 2 -> 1, not 4: MSE 1 and 4
    third = 1 / (1 + math.exp(-5))  # 4 -> 2, not 1: MSE 4 and 9
    assert from_first[1.5] == pytest.approx((first + second) / 3, abs=0.02)
    assert from_first[3.0] == pytest.approx((1 - second + third) / 3, abs=0.02)
