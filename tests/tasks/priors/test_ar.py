"""The autoregressive prior: exact, causal, cached as uncached, and it learns a source of known entropy."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors import ar
from latentbench.tasks.priors.ar import ARPrior, filter_logits, inverse_cdf
from latentbench.tasks.priors.config import ARConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
CASES = [((6,), (11,)), ((3, 2), (7, 5)), ((2, 2, 3), (4, 3, 9))]


def make(shape: tuple[int, ...], sizes: tuple[int, ...], *, spread: float = 1.0, **options) -> ARPrior:
    """A small prior whose random weights are large enough for its predictions to differ."""
    grid = LatentGrid(shape=shape, channels=4, codebook_sizes=sizes)
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


def test_samples_follow_the_model() -> None:
    prior = make((2,), (3, 2), spread=2.0)
    everything = torch.tensor(list(itertools.product(range(3), range(3), range(2), range(2)))).view(-1, 2, 2)
    expected = torch.exp2(-prior.held_out(batch_of(everything))["nll_bits"])
    drawn = prior.sample(4000, seed=0, batch_size=1000).codes
    counts = (drawn[:, None] == everything).flatten(2).all(-1).double().mean(0)
    standard_error = (expected * (1 - expected) / 4000).sqrt()
    assert ((counts - expected).abs() < 4.5 * standard_error + 1e-4).all()


def test_the_loss_is_the_mean_of_the_exact_likelihood() -> None:
    prior = make((3, 2), (7, 5))
    codes = random_codes(6, (3, 2), (7, 5))
    loss = prior.losses(batch_of(codes), player="model", step=0, steps=1)
    bits = prior.held_out(batch_of(codes))["nll_bits"]
    assert loss["loss"].item() / math.log(2) * 12 == pytest.approx(bits.mean().item(), rel=1e-5)
    assert not prior.training


def test_a_large_codebook_in_chunks_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = make((4, 4), (50, 20))
    codes = random_codes(3, (4, 4), (50, 20))

    def gradients() -> list[Tensor]:
        prior.zero_grad()
        prior.losses(batch_of(codes), player="model", step=0, steps=1)["loss"].backward()
        return [p.grad.clone() for p in prior.parameters()]

    whole = gradients()
    monkeypatch.setattr(ar, "_LOGITS_AT_ONCE", 350)
    torch.testing.assert_close(gradients(), whole)


def test_inverse_cdf_inverts() -> None:
    logits = torch.tensor([0.1, 0.0, 0.4, 0.5]).log().expand(5, 4)
    noise = torch.tensor([0.0, 0.0999, 0.1001, 0.4999, 0.99999])
    assert inverse_cdf(logits, noise).tolist() == [0, 0, 2, 2, 3]


def test_top_k_and_top_p_keep_what_they_say() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.97, 0.01, 0.01, 0.01]]).log()
    kept = filter_logits(logits, ARConfig(top_k=2)).isfinite()
    assert kept[0].tolist() == [False, True, True, False]
    kept = filter_logits(logits, ARConfig(top_p=0.75)).isfinite()
    assert kept.tolist() == [[False, True, True, True], [True, False, False, False]]
    assert torch.equal(filter_logits(logits, ARConfig()), logits)


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
def test_it_reaches_the_entropy_of_a_markov_source() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.softmax(2 * torch.randn(6, 6, generator=generator), dim=-1)
    first = torch.softmax(torch.randn(6, generator=generator), dim=-1)
    train, entropy = markov(20000, 12, first, matrix)
    val, _ = markov(3000, 12, first, matrix)
    grid = LatentGrid(shape=(12,), channels=4, codebook_sizes=(6, 2))
    prior = ARPrior(
        ARConfig(width=48, layers=2, attention_heads=2, depth_layers=1), LatentSpec(signal=SIGNAL, grids=(grid,))
    )
    optimizer = torch.optim.AdamW(prior.parameters(), lr=3e-3, betas=(0.9, 0.95))
    steps = 250
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 15) * (1 - step / steps)
        codes = train[torch.randint(len(train), (64,))]
        optimizer.zero_grad()
        prior.losses(batch_of(codes), player="model", step=step, steps=steps)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), 1.0)
        optimizer.step()
    bits = prior.held_out(batch_of(val))["nll_bits"].mean().item()
    assert bits == pytest.approx(entropy, rel=0.02)
    pairs = prior.sample(1000, seed=0, batch_size=500).codes[:, 0]
    counts = torch.zeros(6, 6).index_put_((pairs[:, :-1].flatten(), pairs[:, 1:].flatten()), torch.ones(()), True)
    torch.testing.assert_close(counts / counts.sum(1, keepdim=True), matrix, atol=0.08, rtol=0)
