from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.closed_forms.config import LARGEST_PATCH
from latentbench.tokenizers.spec import LatentSpec

Spec = Callable[..., LatentSpec]


def fitted(data: Tensor, spec: LatentSpec) -> Any:
    prior: Any = closed_forms.get("patch_mixture")().build(spec)
    prior.fit(data)
    return prior


def patches(x: Tensor) -> Tensor:
    """The 2 x 2 patches of `[N, 1, H, W]` by another way than the library's: `[N, P, 4]`."""
    return torch.nn.functional.unfold(x, 2, stride=2).transpose(1, 2)


def test_patches_are_a_mixture_and_know_nothing_of_each_other(spec: Spec) -> None:
    # Each patch lies about +3 or about -1, as its neighbours never know; its values go together.
    generator = torch.Generator().manual_seed(0)
    sign = torch.where(torch.rand(4000, 1, 2, 3, generator=generator) < 0.25, 3.0, -1.0)
    noise = torch.randn(4000, 1, 2, 3, generator=generator)
    data = (sign + 0.3 * noise).repeat_interleave(2, 2).repeat_interleave(2, 3)
    data += 0.1 * torch.randn(data.shape, generator=generator)
    got = fitted(data, spec((4, 6), 1)).sample(4000, seed=0, batch_size=4000).values
    of_data, of_samples = patches(data), patches(got)
    for part in (of_samples[:, 0], of_samples[:, -1]):
        high = part.mean(1) > 1
        assert float(high.float().mean()) == pytest.approx(0.25, abs=0.03)
        assert float(part[high].mean()) == pytest.approx(3.0, abs=0.05)
        assert float(part[~high].mean()) == pytest.approx(-1.0, abs=0.05)
        expected = torch.cov(of_data[:, 0][of_data[:, 0].mean(1) > 1].t())
        torch.testing.assert_close(torch.cov(part[high].t()), expected, atol=0.02, rtol=0)
    between = torch.corrcoef(of_samples.mean(2).t()).fill_diagonal_(0)
    assert between.abs().max() < 0.06


def test_dependence_across_patches_is_forgotten(spec: Spec) -> None:
    data = torch.randn(3000, 1, 1, 1).expand(-1, 2, 4, 4) + 0.1 * torch.randn(3000, 2, 4, 4)
    got = fitted(data, spec((4, 4), 2)).sample(3000, seed=0, batch_size=3000).values
    known = torch.corrcoef(torch.stack([got[:, 0, 0, 0], got[:, 1, 1, 1], got[:, 0, 0, 2]]))
    assert float(known[0, 1]) > 0.95  # of one patch, across channels
    assert abs(float(known[0, 2])) < 0.06


@pytest.mark.parametrize("shape", [(5,), (3, 5), (1, 4), (3, 2, 5)])
def test_odd_sides_are_drawn_whole_and_seeds_repeat(spec: Spec, shape: tuple[int, ...]) -> None:
    data = 2 + 0.5 * torch.randn(600, 2, *shape)
    prior = fitted(data, spec(shape, 2))
    got = prior.sample(600, seed=3, batch_size=64).values
    assert got.shape == data.shape
    torch.testing.assert_close(got.mean(0), torch.full(data.shape[1:], 2.0), atol=0.12, rtol=0)
    torch.testing.assert_close(got.std(0), torch.full(data.shape[1:], 0.5), atol=0.08, rtol=0)
    assert torch.equal(
        prior.sample(4, seed=3, batch_size=4, start=8).values, prior.sample(4, seed=3, batch_size=9, start=8).values
    )
    assert not torch.equal(prior.sample(4, seed=4, batch_size=4).values, got[:4])


def test_few_latents_have_one_gaussian(spec: Spec) -> None:
    prior = fitted(torch.randn(20, 4, 4, 4), spec((4, 4), 4))  # 80 patches of 16 values
    assert len(prior.mixture.mean) == 1
    assert prior.sample(3, seed=0, batch_size=3).values.isfinite().all()


def test_constant_latents_stay_constant(spec: Spec) -> None:
    prior = fitted(torch.ones(50, 1, 4, 4), spec((4, 4), 1))
    torch.testing.assert_close(prior.sample(3, seed=0, batch_size=3).values, torch.ones(3, 1, 4, 4), atol=1e-3, rtol=0)


def test_large_patches_are_left_out_with_the_reason(spec: Spec) -> None:
    part = closed_forms.get("patch_mixture")
    assert part.unsupported_reason(spec((4, 4), LARGEST_PATCH // 4)) is None
    assert part.unsupported_reason(spec((4, 4), 40)) == "a patch has 160 values, and it takes at most 128"
    assert part.unsupported_reason(spec((16,), 64)) is None
