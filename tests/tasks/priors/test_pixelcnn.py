"""Gated PixelCNN: exact, causal without a blind spot, cached as uncached, and it learns a field of known entropy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.pixelcnn import PixelCNNPrior, shifted
from latentbench.tasks.priors.pixelcnn_config import PixelCNNConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
CASES = [((9,), (11,)), ((4, 5), (7, 5)), ((3, 3, 4), (4, 3, 9))]


def make(shape: tuple[int, ...], sizes: tuple[int, ...], *, spread: float = 0.1, **options) -> PixelCNNPrior:
    grid = LatentGrid(shape=shape, channels=4, codebook_sizes=sizes)
    config = PixelCNNConfig(**{"width": 8, "layers": 4, "kernel": 5, **options})
    prior = PixelCNNPrior(config, LatentSpec(signal=SIGNAL, grids=(grid,)))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    return prior.eval()


def batch_of(codes: Tensor) -> LatentBatch:
    return LatentBatch(latents=Latents(codes=codes))


@pytest.mark.parametrize(
    ("shape", "sizes"), [((4,), (3,)), ((2, 2), (2, 3)), ((1, 2, 1), (2, 2, 3)), ((2, 2, 2), (2,))]
)
def test_probabilities_of_all_grids_sum_to_one(shape: tuple, sizes: tuple) -> None:
    prior = make(shape, sizes, spread=0.3)
    ranges = [range(size) for size in sizes for _ in range(math.prod(shape))]
    everything = torch.tensor(list(itertools.product(*ranges))).view(-1, len(sizes), *shape)
    bits = prior.held_out(batch_of(everything))["nll_bits"]
    assert bits.std() > 0.3
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)


def seen_from(prior: PixelCNNPrior, position: int) -> Tensor:
    """Which positions `[N]` the summary of `position` has a gradient to."""
    outputs: list[Tensor] = []

    def keep(module: torch.nn.Module, args: object, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    handle = prior.embedding.register_forward_hook(keep)
    codes = torch.zeros(1, len(prior.sizes), *prior.shape, dtype=torch.long)
    hidden = prior.hidden(codes)[0, position]
    handle.remove()
    (gradient,) = torch.autograd.grad(hidden.sum(), outputs[0], allow_unused=True)
    return gradient[0].abs().sum(-1) > 0


@pytest.mark.parametrize(("shape", "sizes"), CASES)
def test_all_that_comes_before_is_seen_and_nothing_else(shape: tuple, sizes: tuple) -> None:
    prior = make(shape, sizes)
    with torch.no_grad():
        prior.bias += 5  # no rectifier hides a gradient
        prior.out.bias += 5
    positions = math.prod(shape)
    for position in range(positions):
        assert torch.equal(seen_from(prior, position), torch.arange(positions) < position), position


def test_the_reach_is_what_the_configuration_says() -> None:
    prior = make((9, 9), (3,), layers=2, kernel=3)
    with torch.no_grad():
        prior.bias += 5
        prior.out.bias += 5
    seen = seen_from(prior, 4 * 9 + 4).view(9, 9)
    expected = torch.zeros(9, 9, dtype=torch.bool)
    # two layers on from the row above and the column before, two columns to the right
    expected[1:4, 1:7] = True
    expected[4, 1:4] = True
    assert torch.equal(seen, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "sizes"), CASES)
def test_cached_sampling_equals_uncached_in_any_batch(shape: tuple, sizes: tuple) -> None:
    prior = make(shape, sizes)
    whole = prior.sample(9, seed=5, batch_size=9).codes
    assert whole.shape == (9, len(sizes), *shape)
    assert all(whole[:, head].max() < size for head, size in enumerate(sizes))
    assert torch.equal(prior.sample_at(range(9), seed=5, cached=False).codes, whole)
    assert torch.equal(prior.sample(9, seed=5, batch_size=2).codes, whole)
    assert torch.equal(prior.sample(3, seed=5, start=4).codes, whole[4:7])
    assert not torch.equal(prior.sample(9, seed=6).codes, whole)


def test_cached_features_are_those_of_the_whole_grid() -> None:
    prior = make((3, 2, 4), (5, 3))
    codes = torch.stack((torch.randint(5, (2, 3, 2, 4)), torch.randint(3, (2, 3, 2, 4))), dim=1)
    with torch.no_grad():
        whole = prior.hidden(codes)
        advance = prior._cached_step(2)
        flat = codes.flatten(2).transpose(1, 2)
        steps = torch.stack([advance(flat, position) for position in range(24)], dim=1)
    torch.testing.assert_close(steps, whole)


def test_samples_follow_the_model(assert_frequencies: Callable[..., None]) -> None:
    prior = make((2,), (3, 2), spread=0.5)
    everything = torch.tensor(list(itertools.product(range(3), range(3), range(2), range(2)))).view(-1, 2, 2)
    expected = torch.exp2(-prior.held_out(batch_of(everything))["nll_bits"])
    assert_frequencies(prior.sample(4000, seed=0, batch_size=1000).codes, everything, expected)


def test_shifting_moves_by_one() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert shifted(x, 0)[0, 0].tolist() == [[0, 0, 0], [0, 1, 2]]
    assert shifted(x, 1)[0, 0].tolist() == [[0, 0, 1], [0, 3, 4]]
    assert shifted(x[:, :, :1], 0).abs().sum() == 0


@pytest.mark.slow
def test_it_reaches_the_entropy_of_a_field(learn) -> None:
    """Each code follows from its left and its upper right neighbour: the latter is where masked kernels go blind."""
    generator = torch.Generator().manual_seed(1)
    table = torch.softmax(2 * torch.randn(4, 4, 3, generator=generator), dim=-1)

    def field(n: int) -> tuple[Tensor, Tensor]:
        codes, bits = torch.zeros(n, 6, 7, dtype=torch.long), torch.zeros(n)  # with a margin of code 0
        for row, column in itertools.product(range(1, 6), range(1, 6)):
            rows = table[codes[:, row, column - 1], codes[:, row - 1, column + 1]]
            code = torch.multinomial(rows, 1)[:, 0]
            codes[:, row, column] = code + 1
            bits -= rows.gather(1, code[:, None])[:, 0].log2()
        return codes[:, None, 1:, 1:6] - 1, bits

    grid = LatentGrid(shape=(5, 5), channels=4, codebook_sizes=(3,))
    prior = PixelCNNPrior(PixelCNNConfig(width=24, layers=3, kernel=3), LatentSpec(signal=SIGNAL, grids=(grid,)))
    learn(prior, lambda n: batch_of(field(n)[0]), steps=120, lr=8e-3)
    codes, bits = field(2000)
    assert prior.held_out(batch_of(codes))["nll_bits"].mean().item() == pytest.approx(bits.mean().item(), rel=0.02)
