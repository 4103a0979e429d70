"""MAR: its masks, its rounds, and what its summaries may see."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.mar import MARPrior, mask, rounds
from latentbench.tasks.priors.mar_config import MARConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def make(order: str, shape: tuple[int, ...] = (2, 3), **options) -> MARPrior:
    small = {"width": 16, "layers": 2, "attention_heads": 2, "head_layers": 2, "head_steps": 3, "iterations": 3}
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=shape, channels=2),))
    prior = MARPrior(MARConfig(order=order, **{**small, **options}), spec)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return prior.eval()


@pytest.mark.parametrize(("count", "iterations"), [(1, 8), (6, 16), (64, 8), (256, 16), (7, 7), (5, 1)])
def test_rounds_cover_all_tokens_once_few_first(count: int, iterations: int) -> None:
    spans = rounds(count, iterations)
    assert len(spans) == min(count, iterations)
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    sizes = [end - start for start, end in spans]
    assert min(sizes) >= 1
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    if count >= 64:
        assert sizes[0] < sizes[-1]


def test_masks_have_the_share_and_the_least_places() -> None:
    places = torch.rand(5, 10)
    masked = mask(places, torch.tensor([0.0, 0.25, 0.5, 0.95, 1.0]))
    assert masked.sum(1).tolist() == [1, 3, 5, 10, 10]
    assert places[2][masked[2]].max() < places[2][~masked[2]].min()


def test_a_masked_token_is_not_seen_and_a_known_one_is() -> None:
    prior = make("random")
    tokens = torch.randn(1, 6, 2)
    known = torch.tensor([[True, False, True, False, False, True]])
    before = prior.trunk.around(tokens, known, None)
    for position in range(6):
        changed = tokens.clone()
        changed[:, position] += 1
        moved = (prior.trunk.around(changed, known, None) - before).abs().max()
        assert (moved > 1e-4) == bool(known[0, position])


def test_a_causal_summary_sees_the_tokens_before_it() -> None:
    prior = make("raster")
    tokens = torch.randn(1, 6, 2)
    before = prior.trunk.before(tokens, None)
    changed = tokens.clone()
    changed[:, 3] += 1
    moved = (prior.trunk.before(changed, None) - before).abs().amax(-1)[0]
    assert (moved[:4] < 1e-6).all()
    assert (moved[4:] > 1e-4).all()


def test_known_tokens_carry_no_loss() -> None:
    prior = make("random")
    errors = torch.rand(2, 6)
    masked = torch.tensor([[True, False, False, True, False, False], [True] * 6])
    expected = torch.stack(((errors[0, 0] + errors[0, 3]) / 4, errors[1].sum() / 12))
    torch.testing.assert_close(prior._mean(errors, masked), expected)


@pytest.mark.parametrize("order", ["random", "raster"])
def test_padding_is_neither_seen_nor_counted(order: str) -> None:
    prior = make(order, (3,), patch=(2,))
    values = torch.randn(2, 2, 3)
    first = prior.held_out(LatentBatch(latents=Latents(values=values)))["flow_loss"]
    assert prior.inside.sum() == 6
    assert first.isfinite().all()
    assert prior.sample(2, seed=0).values.shape == (2, 2, 3)
