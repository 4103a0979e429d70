from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute
from latentbench.tasks.proxies.viv_full import full_viv


def low_rank(n: int, *shape: int, rank: int = 16) -> torch.Tensor:
    """Latents of unit variance that vary in `rank` directions alone, which are no product of channels and positions."""
    d = math.prod(shape)
    directions = torch.linalg.qr(torch.randn(d, rank))[0]
    return (torch.randn(n, rank) @ directions.t()).view(n, *shape) * math.sqrt(d / rank)


@pytest.mark.slow
def test_rank_16_of_512_elements() -> None:
    z = low_rank(1024, 8, 8, 8)
    full, scaled = compute("viv_full", ProxyInput.of(z))
    truth = math.pi / 2 * math.sqrt(16 / 512)
    assert full.value == pytest.approx(truth, rel=0.02)  # deviations per channel are not quite 1
    assert full.interval is not None
    assert full.interval[0] < full.value < full.interval[1]
    assert scaled.value == pytest.approx(full.value * math.sqrt(512))
    (factored,) = compute("viv", ProxyInput.of(z))
    assert factored.value is not None
    assert factored.value > 5 * truth


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 8, 8), (16, 4, 4), (8, 64)])
def test_latents_of_one_dimension_share_the_normalised_value(shape: tuple[int, ...]) -> None:
    scaled = compute("viv_full", ProxyInput.of(low_rank(1024, *shape)))[1]
    assert scaled.value == pytest.approx(math.pi / 2 * math.sqrt(16), rel=0.03)


@pytest.mark.parametrize(("n", "d"), [(512, 8), (600, 128)])
def test_white_latents_have_half_pi(n: int, d: int) -> None:
    assert full_viv(torch.randn(n, 2, d // 2)) == pytest.approx(math.pi / 2, rel=0.012)


def test_channels_of_differing_smoothness() -> None:
    # No product: one channel is smooth, the other white.
    distance = (torch.arange(16)[:, None] - torch.arange(16)).abs()
    smooth = 0.95 ** distance.double()
    roots = torch.linalg.eigvalsh(smooth).sqrt()
    truth = math.pi / 2 * float((roots.sum() + 16) / 32)
    z = torch.randn(4000, 2, 16)
    z[:, 0] = z[:, 0] @ torch.linalg.cholesky(smooth).t().float()
    assert full_viv(z) == pytest.approx(truth, rel=0.01)
    (factored,) = compute("viv", ProxyInput.of(z))
    assert factored.value is not None
    assert factored.value > 1.05 * truth


def test_classes_take_their_means_away() -> None:
    labels = torch.arange(4000) % 4
    z = torch.randn(4000, 2, 5) + 10 * torch.randn(4, 2, 5)[labels]
    assert full_viv(z, labels) == pytest.approx(math.pi / 2, rel=0.01)


def test_too_few_samples_withhold_it() -> None:
    full, scaled = compute("viv_full", ProxyInput.of(torch.randn(255, 4, 16)))
    assert (full.value, scaled.value, full.missing) == (None, None, 255)
    assert "withheld: more directions than a quarter of the samples" in full.protocol
    assert compute("viv_full", ProxyInput.of(torch.randn(300, 4, 16)))[0].value is not None


@pytest.mark.slow
def test_the_interval_holds_the_populations_value() -> None:
    torch.manual_seed(0)
    smooth = torch.linalg.cholesky(0.9 ** (torch.arange(8)[:, None] - torch.arange(8)).abs().double())
    roots = torch.linalg.eigvalsh(smooth @ smooth.t()).sqrt()
    truth = math.pi / 2 * float(torch.outer(roots, roots).mean())
    held = {"viv": 0, "viv_full": 0}
    for _ in range(30):
        z = smooth.float() @ torch.randn(320, 1, 8, 8) @ smooth.t().float()
        for name in held:
            one = compute(name, ProxyInput.of(z))[0]
            assert one.interval is not None
            held[name] += one.interval[0] <= truth <= one.interval[1]
    assert min(held.values()) >= 24
