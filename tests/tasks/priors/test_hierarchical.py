"""The prior of hierarchies: exact over all grids together, coarse to fine, and it learns."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.hierarchical import HierarchicalPrior
from latentbench.tasks.priors.hierarchical_config import HierarchicalConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
Grids = list[tuple[tuple[int, ...], tuple[int, ...]]]
THREE: Grids = [((1, 2), (5, 3)), ((2, 3), (7,)), ((4, 5), (4, 6))]


def make(grids: Grids, *, spread: float = 0.3, **options) -> HierarchicalPrior:
    levels = tuple(LatentGrid(shape=shape, channels=4, codebook_sizes=sizes) for shape, sizes in grids)
    config = HierarchicalConfig(**{"width": 16, "layers": 2, "attention_heads": 2, **options})
    prior = HierarchicalPrior(config, LatentSpec(signal=SIGNAL, grids=levels))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    return prior.eval()


def latents_of(codes: list[Tensor]) -> Latents:
    return Latents(codes=codes[0], rest=tuple(Latents(codes=part) for part in codes[1:]))


def random_codes(n: int, grids: Grids) -> list[Tensor]:
    return [torch.stack([torch.randint(size, (n, *shape)) for size in sizes], 1) for shape, sizes in grids]


def test_joint_probabilities_sum_to_one() -> None:
    prior = make([((1,), (2, 3)), ((2,), (2,)), ((3,), (2,))])
    everything = torch.tensor(list(itertools.product(range(2), range(3), *[range(2)] * 5)))
    codes = [everything[:, :2, None], everything[:, None, 2:4], everything[:, None, 4:]]
    bits = prior.held_out(LatentBatch(latents=latents_of(codes)))["nll_bits"]
    assert bits.std() > 0.3
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)


def test_coarse_to_fine_and_never_back() -> None:
    prior = make(THREE)
    codes = random_codes(1, THREE)
    before = prior.nll(codes)
    for level in range(3):
        changed = [part.clone() for part in codes]
        changed[level][0, 0].view(-1)[0] = (changed[level][0, 0].view(-1)[0] + 1) % THREE[level][1][0]
        after = prior.nll(changed)
        for number, (a, b) in enumerate(zip(after, before, strict=True)):
            moved = (a - b).abs()
            assert moved.max() == 0 if number < level else moved.max() > 1e-5
            if number > level:
                assert (moved > 1e-7).double().mean() > 0.9, "all of a finer grid depends on every coarser one"


def test_features_go_to_the_positions_below() -> None:
    """Without a transformer between, a coarse code reaches its own quarter of the finer grid alone."""
    prior = make([((2, 2), (5,)), ((4, 4), (3,))], context_layers=0)
    codes = random_codes(1, [((2, 2), (5,))])[0]
    changed = codes.clone()
    changed[0, 0, 0, 1] = (changed[0, 0, 0, 1] + 1) % 5
    moved = (prior.readers[0](changed, None) - prior.readers[0](codes, None)).abs().sum(-1).view(4, 4) > 1e-6
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:2, 2:] = True
    assert torch.equal(moved, expected)


def test_cached_sampling_equals_uncached_in_any_batch() -> None:
    prior = make(THREE)
    whole = prior.sample(7, seed=5, batch_size=7)
    for level, (shape, sizes) in zip(whole.levels, THREE, strict=True):
        assert level.codes.shape == (7, len(sizes), *shape)
        assert all(level.codes[:, head].max() < size for head, size in enumerate(sizes))
    for other in (prior.sample_at(range(7), seed=5, cached=False), prior.sample(7, seed=5, batch_size=2)):
        for ours, theirs in zip(whole.levels, other.levels, strict=True):
            assert torch.equal(ours.codes, theirs.codes)
    assert torch.equal(prior.sample(2, seed=5, start=4).rest[1].codes, whole.rest[1].codes[4:6])


def test_samples_follow_the_model(assert_frequencies: Callable[..., None]) -> None:
    prior = make([((1,), (3,)), ((2,), (2,))], spread=0.5)
    everything = torch.tensor(list(itertools.product(range(3), range(2), range(2))))
    codes = [everything[:, None, :1], everything[:, None, 1:]]
    expected = torch.exp2(-prior.held_out(LatentBatch(latents=latents_of(codes)))["nll_bits"])
    drawn = prior.sample(4000, seed=0, batch_size=1000)
    flat = torch.cat([level.codes.flatten(1) for level in drawn.levels], dim=1)
    assert_frequencies(flat, everything, expected)


@pytest.mark.slow
def test_it_reaches_the_joint_entropy(learn) -> None:
    """A top grid of four codes; below it, each code is its parent's with probability 0.8, else its left neighbour's
    noisy copy."""
    first = torch.tensor([0.5, 0.25, 0.15, 0.1])

    def draw(n: int) -> tuple[LatentBatch, Tensor]:
        top = torch.multinomial(first, n * 4, replacement=True).view(n, 2, 2)
        bits = -first[top].log2().flatten(1).sum(1)
        parents = top.repeat_interleave(2, 1).repeat_interleave(2, 2)
        bottom = torch.zeros(n, 4, 4, dtype=torch.long)
        for row, column in itertools.product(range(4), range(4)):
            left = bottom[:, row, column - 1] if column else torch.zeros(n, dtype=torch.long)
            rows = torch.full((n, 4), 0.02)
            rows.scatter_add_(1, parents[:, row, column, None], torch.full((n, 1), 0.72))
            rows.scatter_add_(1, left[:, None], torch.full((n, 1), 0.2))
            bottom[:, row, column] = torch.multinomial(rows, 1)[:, 0]
            bits -= rows.gather(1, bottom[:, row, column, None])[:, 0].log2()
        return LatentBatch(latents=latents_of([top[:, None], bottom[:, None]])), bits

    prior = make([((2, 2), (4,)), ((4, 4), (4,))], spread=0.0, width=48)
    learn(prior, lambda n: draw(n)[0], steps=140, lr=8e-3)
    val, bits = draw(2000)
    assert prior.held_out(val)["nll_bits"].mean().item() == pytest.approx(bits.mean().item(), rel=0.02)
