"""The prior of multisets: exact over all of them, blind to order, cached as uncached, and it learns a known source."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors import codes as codes_module
from latentbench.tasks.priors.set_ar import SetARPrior
from latentbench.tasks.priors.set_ar_config import SetARConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.sets import arranged, order_of
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def make(n: int, sizes: tuple[int, ...], **options) -> SetARPrior:
    """A small prior whose random weights are large enough for its predictions to differ."""
    grid = LatentGrid(shape=(n,), channels=4, codebook_sizes=sizes, topology="set")
    defaults = {"width": 16, "layers": 2, "attention_heads": 2}
    prior = SetARPrior(SetARConfig(**{**defaults, **options}), LatentSpec(signal=SIGNAL, grids=(grid,)))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return prior.eval()


def multisets(n: int, sizes: tuple[int, ...]) -> Tensor:
    """All multisets of `n` codes `[M, H, n]`, each in ascending order."""
    symbols = list(itertools.product(*(range(size) for size in sizes)))
    return torch.tensor(list(itertools.combinations_with_replacement(symbols, n))).transpose(1, 2)


def bits(prior: SetARPrior, codes: Tensor) -> Tensor:
    return prior.held_out(LatentBatch(latents=Latents(codes=codes)))["nll_bits"]


@pytest.mark.parametrize(("n", "sizes"), [(1, (4,)), (4, (3,)), (3, (2, 3)), (2, (2, 2, 3))])
def test_probabilities_of_all_multisets_sum_to_one(n: int, sizes: tuple[int, ...]) -> None:
    prior, everything = make(n, sizes), multisets(n, sizes)
    symbols = math.prod(sizes)
    assert len(everything) == math.comb(symbols + n - 1, n)
    cost = bits(prior, everything)
    assert cost.std() > 0.3
    assert torch.exp2(-cost).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sizes", [(5,), (3, 2)])
def test_the_order_of_the_codes_does_not_matter(sizes: tuple[int, ...]) -> None:
    prior = make(6, sizes)
    codes = torch.stack([torch.randint(size, (8, 6)) for size in sizes], 1)
    assert torch.equal(bits(prior, codes[:, :, torch.randperm(6)]), bits(prior, codes))


@pytest.mark.parametrize("sizes", [(11,), (4, 3)])
def test_cached_sampling_equals_uncached_in_any_batch_and_ascends(sizes: tuple[int, ...]) -> None:
    prior = make(7, sizes)
    whole = prior.sample(9, seed=5, batch_size=9).codes
    assert whole.shape == (9, len(sizes), 7)
    assert torch.equal(arranged(whole, order_of(whole)), whole)
    assert all(whole[:, head].max() < size for head, size in enumerate(sizes))
    assert torch.equal(prior.sample_at(range(9), seed=5, cached=False).codes, whole)
    assert torch.equal(prior.sample(9, seed=5, batch_size=2).codes, whole)
    assert torch.equal(prior.sample(3, seed=5, start=4).codes, whole[4:7])
    assert not torch.equal(prior.sample(9, seed=6).codes, whole)


def test_samples_follow_the_model(assert_frequencies: Callable[..., None]) -> None:
    prior, everything = make(2, (2, 2)), multisets(2, (2, 2))
    expected = torch.exp2(-bits(prior, everything))
    assert_frequencies(prior.sample(4000, seed=0, batch_size=1000).codes, everything, expected)


def test_guided_samples_ascend() -> None:
    prior = make(6, (5, 3), classes=3, guidance=2.5)
    drawn = prior.sample(20, seed=0).codes
    assert torch.equal(arranged(drawn, order_of(drawn)), drawn)


def test_large_codebooks_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, codes = make(4, (7, 5)), torch.stack([torch.randint(size, (6, 4)) for size in (7, 5)], 1)
    whole = prior.nll(codes)
    monkeypatch.setattr(codes_module, "_LOGITS_AT_ONCE", 20)
    torch.testing.assert_close(prior.nll(codes), whole)


@pytest.mark.slow
def test_it_reaches_the_entropy_of_a_toy_distribution_of_multisets(learn) -> None:
    """Five independent draws of one of two loaded dice: the multiset's entropy by counting all of them."""
    dice = torch.tensor([[0.4, 0.3, 0.1, 0.1, 0.05, 0.05], [0.02, 0.03, 0.15, 0.2, 0.3, 0.3]])
    everything = multisets(5, (6,))[:, 0]
    counts = torch.nn.functional.one_hot(everything, 6).sum(1).double()
    orders = math.lgamma(6) - torch.lgamma(counts + 1).sum(1)
    likelihood = torch.stack([orders + counts @ die.double().log() for die in dice]).logsumexp(0) - math.log(2)
    assert likelihood.exp().sum().item() == pytest.approx(1, abs=1e-6)
    entropy = -(likelihood.exp() * likelihood).sum().item() / math.log(2)

    def draw(n: int) -> LatentBatch:
        which = torch.randint(2, (n,))
        return LatentBatch(latents=Latents(codes=torch.multinomial(dice[which], 5, replacement=True)[:, None]))

    grid = LatentGrid(shape=(5,), channels=4, codebook_sizes=(6,), topology="set")
    config = SetARConfig(width=32, layers=2, attention_heads=2)
    prior = SetARPrior(config, LatentSpec(signal=SIGNAL, grids=(grid,)))
    learn(prior, draw, steps=150, lr=6e-3, batch=128)
    # over all multisets with their true weights: no sampling noise
    cross = (likelihood.exp() * bits(prior, everything[:, None])).sum().item()
    assert entropy <= cross + 1e-6
    assert cross == pytest.approx(entropy, rel=0.02)
    drawn = prior.sample(2000, seed=0, batch_size=1000).codes[:, 0]
    shares = torch.nn.functional.one_hot(drawn, 6).double().mean((0, 1))
    torch.testing.assert_close(shares, dice.double().mean(0), atol=0.02, rtol=0)
