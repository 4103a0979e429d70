"""Masked prediction: its bound against enumeration, its schedule, its samples, and that it learns."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors import maskgit as module
from latentbench.tasks.priors.maskgit import MaskGITPrior, schedule
from latentbench.tasks.priors.maskgit_config import MaskGITConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def make(shape: tuple[int, ...], sizes: tuple[int, ...], *, spread: float = 0.3, **options) -> MaskGITPrior:
    grid = LatentGrid(shape=shape, channels=4, codebook_sizes=sizes)
    config = MaskGITConfig(**{"width": 16, "layers": 2, "attention_heads": 2, **options})
    prior = MaskGITPrior(config, LatentSpec(signal=SIGNAL, grids=(grid,)))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    return prior.eval()


def everything(positions: int, sizes: tuple[int, ...]) -> Tensor:
    ranges = [range(size) for size in sizes for _ in range(positions)]
    return torch.tensor(list(itertools.product(*ranges))).view(-1, len(sizes), positions)


@torch.no_grad()
def by_order(prior: MaskGITPrior, codes: Tensor) -> Tensor:
    """Exact log2 p(codes | order) `[orders, B]` of revealing one position at a time, for every order."""
    flat = codes.transpose(1, 2)
    orders = []
    for order in itertools.permutations(range(codes.shape[2])):
        masked = torch.ones(len(codes), codes.shape[2], dtype=torch.bool)
        total = torch.zeros(len(codes), dtype=torch.double)
        for position in order:
            total -= prior.nll(flat, masked)[:, position].double() / math.log(2)
            masked[:, position] = False
        orders.append(total)
    return torch.stack(orders)


def test_the_bound_is_one_and_its_estimate_unbiased() -> None:
    prior = make((3,), (2, 3))
    space = everything(3, (2, 3))
    given_order = by_order(prior, space)
    torch.testing.assert_close(torch.exp2(given_order).sum(1), torch.ones(6, dtype=torch.double))
    exact = -torch.exp2(given_order).mean(0).log2()
    bound = -given_order.mean(0)
    assert (bound > exact - 1e-9).all()
    assert (bound - exact).max() > 0.01
    n = 600
    for index in (0, 100, 215):
        batch = LatentBatch(latents=Latents(codes=space[index : index + 1].expand(n, -1, -1)))
        estimates = prior.held_out(batch)["nll_bound_bits"]
        error = estimates.std() / math.sqrt(n)
        assert abs(estimates.mean() - bound[index]) < 4.5 * error + 1e-6


def test_the_bound_with_few_masks_is_unbiased_too(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = make((2, 2), (3,))
    codes = torch.tensor([0, 2, 1, 0]).view(1, 1, 2, 2)
    bound = -by_order(prior, codes.flatten(2)).mean(0)
    monkeypatch.setattr(module, "_HELD_OUT_MASKS", 2)
    estimates = prior.held_out(LatentBatch(latents=Latents(codes=codes.expand(2000, -1, -1, -1))))["nll_bound_bits"]
    assert abs(estimates.mean() - bound.item()) < 4.5 * estimates.std() / math.sqrt(2000)


def test_the_held_out_bound_is_fixed_by_the_index() -> None:
    prior = make((4, 5), (7, 3))
    codes = torch.stack((torch.randint(7, (5, 4, 5)), torch.randint(3, (5, 4, 5))), dim=1)
    indices = torch.tensor([3, 8, 1, 0, 5])
    whole = prior.held_out(LatentBatch(latents=Latents(codes=codes), indices=indices))["nll_bound_bits"]
    part = LatentBatch(latents=Latents(codes=codes[[4, 1]]), indices=indices[[4, 1]])
    torch.testing.assert_close(prior.held_out(part)["nll_bound_bits"], whole[[4, 1]])
    other = prior.held_out(LatentBatch(latents=Latents(codes=codes), indices=indices + 9))["nll_bound_bits"]
    assert (other - whole).abs().min() > 1e-5


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_masked_codes_are_unseen_and_all_others_seen(positions: str) -> None:
    prior = make((2, 3), (5, 4), positions=positions)
    codes = torch.stack((torch.randint(5, (1, 6)), torch.randint(4, (1, 6))), dim=-1)
    masked = torch.tensor([[True, False, True, True, False, False]])
    before = prior.hidden(codes, masked)
    for place in range(6):
        changed = codes.clone()
        changed[0, place, 1] = (changed[0, place, 1] + 1) % 4
        moved = (prior.hidden(changed, masked) - before).abs().amax(-1)[0]
        assert (moved == 0).all() if masked[0, place] else (moved > 1e-6).all()


def test_the_schedule_is_the_cosine_and_reveals_in_every_round() -> None:
    assert schedule(256, 8) == [math.floor(256 * math.cos(math.pi * t / 16)) for t in range(1, 8)] + [0]
    for positions, steps in itertools.product((1, 2, 3, 7, 20), (1, 2, 5, 8, 40)):
        left = [positions, *schedule(positions, steps)]
        assert len(left) == 1 + min(positions, steps)
        assert left[-1] == 0
        assert all(a > b for a, b in itertools.pairwise(left))


@pytest.mark.parametrize(("shape", "sizes"), [((9,), (11,)), ((4, 3), (7, 5)), ((2, 2, 3), (4, 3, 9))])
def test_samples_belong_to_seed_and_index(shape: tuple, sizes: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = make(shape, sizes)
    whole = prior.sample(9, seed=5, batch_size=9).codes
    assert whole.shape == (9, len(sizes), *shape)
    assert all(whole[:, head].max() < size for head, size in enumerate(sizes))
    assert torch.equal(prior.sample(9, seed=5, batch_size=2).codes, whole)
    assert torch.equal(prior.sample(3, seed=5, start=4).codes, whole[4:7])
    assert not torch.equal(prior.sample(9, seed=6).codes, whole)
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 300)
    assert torch.equal(prior.sample(9, seed=5, batch_size=9).codes, whole)


def test_one_position_a_round_in_random_order_samples_the_model() -> None:
    prior = make((2,), (3, 2), spread=0.5, steps=2, choice_temperature=1e6)
    space = everything(2, (3, 2))
    expected = torch.exp2(by_order(prior, space)).mean(0)
    drawn = prior.sample(4000, seed=0, batch_size=1000).codes
    counts = (drawn[:, None] == space).flatten(2).all(-1).double().mean(0)
    standard_error = (expected * (1 - expected) / 4000).sqrt()
    assert ((counts - expected).abs() < 4.5 * standard_error + 1e-4).all()


def test_without_noise_the_most_confident_positions_come_first() -> None:
    prior = make((5,), (6,), steps=5, choice_temperature=0.0, temperature=1e-4)
    with torch.no_grad():
        codes, masked = torch.zeros(1, 5, 1, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool)
        for _ in range(5):
            best = prior.head.logits[0](prior.hidden(codes, masked)).log_softmax(-1).max(-1)
            place = best.values.masked_fill(~masked, -math.inf).argmax()
            codes[0, place, 0], masked[0, place] = best.indices[0, place], False
    assert torch.equal(prior.sample(1, seed=0).codes[0, 0], codes[0, :, 0])


@pytest.mark.slow
def test_its_bound_reaches_the_entropy_of_a_markov_source(learn) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.softmax(1.5 * torch.randn(4, 4, generator=generator), dim=-1)
    keep = torch.tensor([[0.9, 0.1], [0.2, 0.8]])

    def chain(n: int) -> tuple[Tensor, Tensor]:
        codes, bits = torch.zeros(n, 2, 4, dtype=torch.long), torch.zeros(n)
        for place in range(4):
            rows = torch.full((n, 4), 0.25) if place == 0 else matrix[codes[:, 0, place - 1]]
            for head in range(2):
                rows = rows if head == 0 else keep[codes[:, 0, place] % 2]
                codes[:, head, place] = torch.multinomial(rows, 1)[:, 0]
                bits -= rows.gather(1, codes[:, head, place, None])[:, 0].log2()
        return codes, bits

    prior = make((4,), (4, 2), spread=0.0, width=64, layers=1, depth_layers=1)
    learn(prior, lambda n: LatentBatch(latents=Latents(codes=chain(n)[0])), steps=400, lr=4e-3, batch=128)
    codes, bits = chain(3000)
    bound = prior.held_out(LatentBatch(latents=Latents(codes=codes)))["nll_bound_bits"].mean().item()
    assert bound == pytest.approx(bits.mean().item(), rel=0.02)
