"""The flow over sets: equivariant to permutations, and it learns a distribution of sets."""

from __future__ import annotations

import pytest
import torch

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.set_flow import SetFlowPrior
from latentbench.tasks.priors.set_flow_config import SetFlowConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def make(n: int = 7, channels: int = 3, **options) -> SetFlowPrior:
    grid = LatentGrid(shape=(n,), channels=channels, topology="set")
    defaults = {"width": 16, "layers": 2, "attention_heads": 2, "steps": 4}
    return SetFlowPrior(SetFlowConfig(**{**defaults, **options}), LatentSpec(signal=SIGNAL, grids=(grid,)))


def awake(prior: SetFlowPrior) -> SetFlowPrior:
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return prior.eval()


def test_the_velocity_is_equivariant_to_permutations() -> None:
    prior, order = awake(make()), torch.randperm(7)
    x, t = torch.randn(4, 3, 7), torch.rand(4)
    there = prior.net(x, t)
    torch.testing.assert_close(prior.net(x[:, :, order], t), there[:, :, order])
    changed = x.clone()
    changed[:, :, 0] += 1
    assert ((prior.net(changed, t) - there)[:, :, 1:].abs().amax((0, 1)) > 1e-5).all(), "tokens see each other"


def test_samples_belong_to_their_index() -> None:
    prior = awake(make())
    whole = prior.sample(9, seed=5, batch_size=9).values
    assert whole.shape == (9, 3, 7)
    torch.testing.assert_close(prior.sample(9, seed=5, batch_size=2).values, whole)
    torch.testing.assert_close(prior.sample(3, seed=5, start=4).values, whole[4:7])
    assert not torch.allclose(prior.sample(9, seed=6).values, whole)


def test_a_state_dict_restores_it() -> None:
    first, second = awake(make()), make()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.sample(3, seed=0).values, second.sample(3, seed=0).values)


@pytest.mark.slow
def test_it_learns_that_the_tokens_of_a_set_differ(learn) -> None:
    """Sets of the four corners, each with its small noise: a model of independent tokens would repeat corners."""
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).T

    def draw(n: int) -> LatentBatch:
        orders = torch.rand(n, 4).argsort(1)
        return LatentBatch(latents=Latents(values=corners.T[orders].transpose(1, 2) + 0.1 * torch.randn(n, 2, 4)))

    torch.manual_seed(0)
    prior = make(4, 2, width=48, steps=25)
    learn(prior, draw, steps=180, lr=7e-3, batch=64)
    drawn = prior.sample(400, seed=0, batch_size=400).values
    nearest = torch.cdist(drawn.transpose(1, 2), corners.T.expand(400, -1, -1)).argmin(-1)
    whole = torch.tensor([len(set(row)) == 4 for row in nearest.tolist()]).double().mean().item()
    assert whole > 0.5  # 4! / 4^4 = 0.09 if they knew nothing of each other
