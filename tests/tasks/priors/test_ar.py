"""The autoregressive prior: exact, causal, cached as uncached, and it learns a source of known entropy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.ar import ARPrior, delayed, undelayed
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
CASES = [((6,), (11,)), ((3, 2), (7, 5)), ((2, 2, 3), (4, 3, 9))]


def make(
    shape: tuple[int, ...], sizes: tuple[int, ...], *, spread: float = 1.0, variable: bool = False, **options
) -> ARPrior:
    """A small prior whose random weights are large enough for its predictions to differ."""
    topology = "sequence" if variable else "grid"
    grid = LatentGrid(shape=shape, channels=4, codebook_sizes=sizes, topology=topology, variable=variable)
    defaults = {"width": 16, "layers": 2, "attention_heads": 2}
    prior = ARPrior(ARConfig(**{**defaults, **options}), LatentSpec(signal=SIGNAL, grids=(grid,)))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3 * spread)
    return prior.eval()


def random_codes(batch: int, shape: tuple[int, ...], sizes: tuple[int, ...]) -> Tensor:
    return torch.stack([torch.randint(size, (batch, *shape)) for size in sizes], dim=1)


def batch_of(codes: Tensor) -> LatentBatch:
    return LatentBatch(latents=Latents(codes=codes))


@pytest.mark.parametrize(("shape", "sizes"), [((4,), (3,)), ((2, 2), (2, 3)), ((1, 2, 1), (2, 2, 3))])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_probabilities_of_all_sequences_sum_to_one(shape: tuple, sizes: tuple, positions: str) -> None:
    prior = make(shape, sizes, positions=positions)
    ranges = [range(size) for size in sizes for _ in range(math.prod(shape))]
    everything = torch.tensor(list(itertools.product(*ranges))).view(-1, len(sizes), *shape)
    bits = prior.held_out(batch_of(everything))["nll_bits"]
    assert bits.std() > 0.5
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("shape", "sizes"), CASES)
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_later_code_never_changes_an_earlier_prediction(shape: tuple, sizes: tuple, positions: str) -> None:
    prior = make(shape, sizes, positions=positions)
    codes = random_codes(1, shape, sizes)
    before = prior.nll(codes)[0].flatten()
    for place in range(before.numel()):
        position, head = divmod(place, len(sizes))
        changed = codes.clone().flatten(2)
        changed[0, head, position] = (changed[0, head, position] + 1) % sizes[head]
        after = prior.nll(changed.view(codes.shape))[0].flatten()
        torch.testing.assert_close(after[:place], before[:place])
        assert (after[place:] - before[place:]).abs().min() > 1e-7, "a code and all that follow depend on it"


@pytest.mark.parametrize(("shape", "sizes"), CASES)
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_cached_sampling_equals_uncached_in_any_batch(shape: tuple, sizes: tuple, positions: str) -> None:
    prior = make(shape, sizes, positions=positions)
    whole = prior.sample(9, seed=5, batch_size=9).codes
    assert whole.shape == (9, len(sizes), *shape)
    assert all(whole[:, head].max() < size for head, size in enumerate(sizes))
    assert torch.equal(prior.sample_at(range(9), seed=5, cached=False).codes, whole)
    assert torch.equal(prior.sample(9, seed=5, batch_size=2).codes, whole)
    assert torch.equal(prior.sample(3, seed=5, start=4).codes, whole[4:7])
    assert not torch.equal(prior.sample(9, seed=6).codes, whole)


def test_samples_follow_the_model(assert_frequencies: Callable[..., None]) -> None:
    prior = make((2,), (3, 2), spread=2.0)
    everything = torch.tensor(list(itertools.product(range(3), range(3), range(2), range(2)))).view(-1, 2, 2)
    expected = torch.exp2(-prior.held_out(batch_of(everything))["nll_bits"])
    assert_frequencies(prior.sample(4000, seed=0, batch_size=1000).codes, everything, expected)


def test_the_loss_is_the_mean_of_the_exact_likelihood() -> None:
    prior = make((3, 2), (7, 5))
    codes = random_codes(6, (3, 2), (7, 5))
    loss = prior.losses(batch_of(codes), group="model", step=0, steps=1)
    bits = prior.held_out(batch_of(codes))["nll_bits"]
    assert loss["loss"].item() / math.log(2) * 12 == pytest.approx(bits.mean().item(), rel=1e-5)
    assert not prior.training


@pytest.mark.parametrize("options", [{"temperature": 1e-4}, {"top_k": 1}, {"top_p": 1e-6}])
def test_greedy_settings_take_the_likeliest_code(options: dict) -> None:
    prior = make((6,), (11,), **options)
    drawn = prior.sample(4, seed=0).codes
    flat = drawn.transpose(1, 2)
    likeliest = prior.head.logits[0](prior.hidden(flat[:, :-1])).argmax(-1)
    assert torch.equal(flat[..., 0], likeliest)


def markov(n: int, length: int, first: Tensor, matrix: Tensor) -> tuple[Tensor, float]:
    """Sequences `[n, 2, length]` of a Markov chain with a second head that is a noisy copy of the first, and their
    exact entropy in bits."""
    keep = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    codes = torch.zeros(n, 2, length, dtype=torch.long)
    entropy, marginal = 0.0, first
    for place in range(length):
        probabilities = first.expand(n, -1) if place == 0 else matrix[codes[:, 0, place - 1]]
        rows = first[None] if place == 0 else matrix
        weights = torch.ones(1) if place == 0 else marginal
        entropy += float((weights * -(rows * rows.log2()).sum(1)).sum())
        marginal = marginal if place == 0 else marginal @ matrix
        codes[:, 0, place] = torch.multinomial(probabilities, 1)[:, 0]
        parity = codes[:, 0, place] % 2
        codes[:, 1, place] = torch.multinomial(keep[parity], 1)[:, 0]
        odd = float(marginal[1::2].sum())
        entropy += float(torch.tensor([1 - odd, odd]) @ -(keep * keep.log2()).sum(1))
    return codes, entropy


@pytest.mark.slow
def test_it_reaches_the_entropy_of_a_markov_source(learn) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.softmax(2 * torch.randn(6, 6, generator=generator), dim=-1)
    first = torch.softmax(torch.randn(6, generator=generator), dim=-1)
    train, entropy = markov(9000, 12, first, matrix)
    val, _ = markov(2000, 12, first, matrix)
    grid = LatentGrid(shape=(12,), channels=4, codebook_sizes=(6, 2))
    prior = ARPrior(
        ARConfig(width=48, layers=2, attention_heads=2, depth_layers=1), LatentSpec(signal=SIGNAL, grids=(grid,))
    )
    learn(prior, lambda n: batch_of(train[torch.randint(len(train), (n,))]), steps=130, lr=5e-3)
    bits = prior.held_out(batch_of(val))["nll_bits"].mean().item()
    assert bits == pytest.approx(entropy, rel=0.02)
    pairs = prior.sample(1000, seed=0, batch_size=500).codes[:, 0]
    counts = torch.zeros(6, 6).index_put_((pairs[:, :-1].flatten(), pairs[:, 1:].flatten()), torch.ones(()), True)
    torch.testing.assert_close(counts / counts.sum(1, keepdim=True), matrix, atol=0.08, rtol=0)


def test_the_delay_pattern() -> None:
    codes = torch.tensor([[[1, 4], [2, 5], [3, 6]]])
    assert delayed(codes).tolist() == [[[1, 0], [2, 4], [3, 5], [0, 6]]]
    assert torch.equal(undelayed(delayed(codes)), codes)


@pytest.mark.parametrize(("shape", "sizes"), [((3,), (2, 3)), ((2, 2), (2, 1, 2))])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_delayed_probabilities_sum_to_one(shape: tuple, sizes: tuple, positions: str) -> None:
    prior = make(shape, sizes, order="delay", positions=positions)
    ranges = [range(size) for size in sizes for _ in range(math.prod(shape))]
    everything = torch.tensor(list(itertools.product(*ranges))).view(-1, len(sizes), *shape)
    bits = prior.held_out(batch_of(everything))["nll_bits"]
    assert bits.std() > 0.5
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)
    drawn = prior.sample(20, seed=1)
    assert torch.equal(prior.sample_at(range(20), seed=1, cached=False).codes, drawn.codes)
    assert torch.equal(prior.sample(20, seed=1, batch_size=7).codes, drawn.codes)


def test_delay_takes_one_step_for_independent_and_no_other() -> None:
    prior = make((5,), (4, 3, 2), order="delay")
    codes = random_codes(1, (5,), (4, 3, 2))
    before = undelayed(prior.nll(codes))[0]
    for place, head in itertools.product(range(5), range(3)):
        changed = codes.clone()
        changed[0, head, place] = (changed[0, head, place] + 1) % prior.sizes[head]
        moved = (undelayed(prior.nll(changed))[0] - before).abs() > 1e-6
        later = [[n + j > place + head for j in range(3)] for n in range(5)]
        later[place][head] = True
        assert moved.tolist() == later


def everything_up_to(length: int, sizes: tuple[int, ...]) -> Latents:
    """All sequences of at most `length` positions; anything behind their ends."""
    codes, lengths = [], []
    for n in range(length + 1):
        rows = list(itertools.product(*(range(size) for size in sizes for _ in range(n))))
        padded = torch.zeros(len(rows), len(sizes), length, dtype=torch.long)
        padded[..., :n] = torch.tensor(rows, dtype=torch.long).view(len(rows), len(sizes), n)
        padded[..., n:] = torch.randint(min(sizes), padded[..., n:].shape)
        codes.append(padded)
        lengths += [n] * len(rows)
    return Latents(codes=torch.cat(codes), lengths=torch.tensor(lengths))


@pytest.mark.parametrize("sizes", [(3,), (2, 3)])
@pytest.mark.parametrize("order", ["raster", "delay"])
def test_sequences_of_all_lengths_sum_to_one_and_are_sampled_so(sizes: tuple, order: str) -> None:
    prior = make((3,), sizes, variable=True, order=order)
    latents = everything_up_to(3, sizes)
    probabilities = torch.exp2(-prior.held_out(LatentBatch(latents=latents))["nll_bits"])
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    lengths = torch.zeros(4, dtype=torch.double).index_add(0, latents.lengths, probabilities)
    drawn = prior.sample(3000, seed=0, batch_size=1000)
    shares = torch.bincount(drawn.lengths, minlength=4) / 3000
    assert ((shares - lengths).abs() < 4.5 * (lengths * (1 - lengths) / 3000).sqrt() + 1e-3).all()
    behind = torch.arange(3) >= drawn.lengths[:, None]
    assert (drawn.codes.transpose(0, 1)[:, behind] == 0).all()
    uncached = prior.sample_at(range(50), seed=0, cached=False)
    assert torch.equal(uncached.codes, drawn.codes[:50])
    assert torch.equal(uncached.lengths, drawn.lengths[:50])


@pytest.mark.parametrize("order", ["raster", "delay"])
def test_sampling_stops_when_all_have_ended(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = make((200,), (3, 2), variable=True, order=order, spread=0.1)
    with torch.no_grad():
        prior.head.logits[0].bias[3] = 4.0  # the end symbol
    calls = []
    draw = prior.head.draw
    monkeypatch.setattr(prior.head, "draw", lambda *args: (calls.append(0), draw(*args)))
    drawn = prior.sample(30, seed=0)
    assert drawn.lengths.max() < 16
    assert len(calls) <= 32


def test_lengths_weigh_the_loss_by_code() -> None:
    prior = make((6,), (5, 3), variable=True)
    codes, lengths = random_codes(4, (6,), (5, 3)), torch.tensor([0, 2, 5, 6])
    batch = LatentBatch(latents=Latents(codes=codes, lengths=lengths))
    nats = prior.held_out(batch)["nll_bits"].sum().item() * math.log(2)
    # two codes a position, and an end symbol for all but the longest
    assert prior.losses(batch, group="model", step=0, steps=1)["loss"].item() == pytest.approx(nats / 29, rel=1e-5)


@pytest.mark.slow
def test_it_learns_bytes_of_varying_length(learn) -> None:
    """A chain over 12 of 256 bytes that stops with probability 0.2 after each: rate in closed form per sample."""
    generator = torch.Generator().manual_seed(2)
    matrix = torch.softmax(1.5 * torch.randn(12, 12, generator=generator), dim=-1)
    limit, stop = 16, 0.2

    def draw(n: int) -> tuple[LatentBatch, Tensor]:
        codes, bits = torch.zeros(n, 1, limit, dtype=torch.long), torch.zeros(n)
        alive, lengths = torch.ones(n, dtype=torch.bool), torch.full((n,), limit)
        for place in range(limit):
            rows = torch.full((n, 12), 1 / 12) if place == 0 else matrix[codes[:, 0, place - 1]]
            ends = alive & (torch.rand(n) < stop)
            bits -= torch.where(ends, math.log2(stop), 0.0)
            lengths[ends] = place
            alive &= ~ends
            code = torch.multinomial(rows, 1)[:, 0]
            bits -= torch.where(alive, math.log2(1 - stop) + rows.gather(1, code[:, None])[:, 0].log2(), 0.0)
            codes[:, 0, place] = torch.where(alive, code, 0)
        return LatentBatch(latents=Latents(codes=codes, lengths=lengths)), bits

    grid = LatentGrid(shape=(limit,), channels=1, codebook_sizes=(256,), topology="sequence", variable=True)
    config = ARConfig(width=32, layers=2, attention_heads=2)
    prior = ARPrior(config, LatentSpec(signal=SIGNAL, grids=(grid,)))
    learn(prior, lambda n: draw(n)[0], steps=240, lr=8e-3, batch=64)
    val, bits = draw(3000)
    assert prior.held_out(val)["nll_bits"].mean().item() == pytest.approx(bits.mean().item(), rel=0.02)
    drawn = prior.sample(1000, seed=0, batch_size=500)
    assert drawn.lengths.double().mean().item() == pytest.approx(val.latents.lengths.double().mean().item(), rel=0.12)


@pytest.mark.slow
def test_delay_reaches_the_entropy_where_its_independence_holds(learn) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.softmax(2 * torch.randn(6, 6, generator=generator), dim=-1)
    first = torch.softmax(torch.randn(6, generator=generator), dim=-1)
    train, entropy = markov(9000, 12, first, matrix)
    val, _ = markov(2000, 12, first, matrix)
    grid = LatentGrid(shape=(12,), channels=4, codebook_sizes=(6, 2))
    config = ARConfig(width=48, layers=2, attention_heads=2, order="delay")
    prior = ARPrior(config, LatentSpec(signal=SIGNAL, grids=(grid,)))
    learn(prior, lambda n: batch_of(train[torch.randint(len(train), (n,))]), steps=130, lr=5e-3)
    assert prior.held_out(batch_of(val))["nll_bits"].mean().item() == pytest.approx(entropy, rel=0.02)
