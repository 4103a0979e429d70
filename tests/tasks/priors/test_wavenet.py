"""The WaveNet-like prior: exact, causal, as far as its dilations reach, cached as uncached, and it learns."""

from __future__ import annotations

import itertools

import pytest
import torch

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.dilated import DilatedStack
from latentbench.tasks.priors.wavenet import WaveNetPrior
from latentbench.tasks.priors.wavenet_config import WaveNetConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(64,), rate=16000)


def make(length: int, sizes: tuple[int, ...], **options) -> WaveNetPrior:
    grid = LatentGrid(shape=(length,), channels=4, codebook_sizes=sizes)
    config = WaveNetConfig(**{"width": 16, "layers": 4, "cycle": 2, **options})
    return WaveNetPrior(config, LatentSpec(signal=SIGNAL, grids=(grid,))).eval()


def batch_of(codes: torch.Tensor) -> LatentBatch:
    return LatentBatch(latents=Latents(codes=codes))


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    prior = make(3, (2, 3))
    everything = torch.tensor(list(itertools.product(*[range(2)] * 3, *[range(3)] * 3))).view(-1, 2, 3)
    bits = prior.held_out(batch_of(everything))["nll_bits"]
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)
    assert bits.std() > 0.01


def test_a_prediction_sees_the_past_within_reach_alone() -> None:
    prior = make(16, (9,))
    assert prior.stack.receptive_field == 7
    codes = torch.randint(9, (1, 1, 16))
    before = prior.hidden(codes.transpose(1, 2)[:, :-1])[0]
    changed = codes.clone()
    changed[0, 0, 4] = (changed[0, 0, 4] + 1) % 9
    moved = (prior.hidden(changed.transpose(1, 2)[:, :-1])[0] - before).abs().amax(-1)
    assert (moved[:5] == 0).all()
    assert (moved[5:12] > 1e-7).all(), "positions 5 to 11 are within seven of position 5, which holds code 4"
    assert (moved[12:] == 0).all()


def test_cached_sampling_equals_uncached_in_any_batch() -> None:
    prior = make(12, (7, 5))
    whole = prior.sample(6, seed=5, batch_size=6).codes
    assert torch.equal(prior.sample_at(range(6), seed=5, cached=False).codes, whole)
    assert torch.equal(prior.sample(6, seed=5, batch_size=4).codes, whole)
    assert not torch.equal(prior.sample(6, seed=6).codes, whole)


@pytest.mark.parametrize("causal", [True, False])
def test_the_stack_is_its_formula(causal: bool) -> None:
    stack = DilatedStack(3, 2, 2, causal=causal)
    x = torch.randn(1, 3, 6)
    total, h = torch.zeros(3, 6), x[0]
    for layer, dilation in zip(stack.layers, (1, 2), strict=True):
        taps = (-dilation, 0) if causal else (-dilation, 0, dilation)
        columns = []
        for place in range(6):
            column = layer.conv.bias.clone()
            for tap, offset in enumerate(taps):
                if 0 <= place + offset < 6:
                    column = column + layer.conv.weight[:, :, tap] @ h[:, place + offset]
            columns.append(torch.tanh(column[:3]) * torch.sigmoid(column[3:]))
        out = layer.out.weight[:, :, 0] @ torch.stack(columns, 1) + layer.out.bias[:, None]
        h, total = (h + out[:3]) / 2**0.5, total + out[3:]
    torch.testing.assert_close(stack(x)[0], total / 2**0.5)


def test_flops_and_bad_options() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for sizes in ((7,), (7, 5)):
        prior = make(12, sizes)
        codes = torch.stack([torch.randint(k, (2, 12)) for k in sizes], 1)
        with FlopCounterMode(display=False) as counter:
            prior.losses(batch_of(codes), group="model", step=0, steps=1)
        assert counter.get_total_flops() / 2 == pytest.approx(prior.config.forward_flops(prior.spec), rel=1e-6)
    with pytest.raises(ValueError, match="cycle"):
        WaveNetConfig(cycle=0)
    grid = LatentGrid(shape=(4, 4), channels=4, codebook_sizes=(8,))
    assert "one axis" in str(WaveNetConfig().unsupported_reason(LatentSpec(signal=SIGNAL, grids=(grid,))))


@pytest.mark.slow
def test_it_reaches_the_entropy_of_a_second_order_source(learn) -> None:
    """The sum modulo 4 of the two codes before, changed with probability 0.2 to one of the other three."""

    def draw(n: int) -> torch.Tensor:
        codes = torch.randint(4, (n, 16))
        for place in range(2, 16):
            change = torch.where(torch.rand(n) < 0.2, torch.randint(1, 4, (n,)), 0)
            codes[:, place] = (codes[:, place - 1] + codes[:, place - 2] + change) % 4
        return codes[:, None]

    each = -0.8 * torch.tensor(0.8).log2() - 0.2 * torch.tensor(0.2 / 3).log2()
    entropy = 2 * 2 + 14 * each.item()
    prior = make(16, (4,), width=32)
    learn(prior, lambda n: batch_of(draw(n)), steps=120, lr=8e-3, batch=96)
    assert prior.held_out(batch_of(draw(4000)))["nll_bits"].mean().item() == pytest.approx(entropy, rel=0.02)
