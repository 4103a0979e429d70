"""The logit-Laplace term against torch.distributions, and beyond the signal's range."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Laplace, SigmoidTransform, TransformedDistribution

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.losses.logit_laplace import logit_laplace, to_unit
from latentbench.tokenizers.losses.logit_laplace_config import LogitLaplaceConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec


@pytest.mark.parametrize("scale", [0.05, 0.1, 1.0])
def test_it_is_the_negative_log_density_of_a_sigmoid_of_a_laplace(scale: float) -> None:
    x, decoded = 2 * torch.rand(3, 2, 5) - 1, 2 * torch.rand(3, 2, 5) - 1
    density = TransformedDistribution(Laplace(to_unit(decoded).logit(), scale), [SigmoidTransform()])
    expected = -density.log_prob(to_unit(x)).flatten(1).mean(1)
    torch.testing.assert_close(logit_laplace(decoded, x, scale=scale), expected, rtol=1e-4, atol=1e-4)


def test_the_transform_maps_the_range_inside_the_unit_interval() -> None:
    # In grey levels (appendix A.3): [0, 255] to (1 - 2 epsilon) / 255 x + epsilon.
    grey = torch.arange(256.0)
    torch.testing.assert_close(to_unit(grey / 127.5 - 1), 0.8 / 255 * grey + 0.1)


def test_what_leaves_the_range_is_pulled_back() -> None:
    decoded = torch.tensor([[-50.0, -1.3, -1.1, 1.1, 1.3, 50.0]], requires_grad=True)
    loss = logit_laplace(decoded, torch.zeros_like(decoded), scale=0.1)
    loss.sum().backward()
    assert decoded.grad is not None
    assert decoded.grad.isfinite().all()
    assert torch.equal(decoded.grad.sign(), decoded.detach().sign())


def test_it_trains_in_every_modality(signal: SignalSpec) -> None:
    options = {"width": 8, "losses": {"l2": 0.0, "l1": 0.0, "stft": 0.0, "mel": 0.0, "logit_laplace": 0.5}}
    tokenizer = build(resolve("ae", signal, options))
    losses = tokenizer.losses(torch.rand(2, signal.channels, *signal.shape), group="model", step=0, steps=1)
    losses["loss"].backward()
    assert losses["loss"].isfinite()


def test_a_scale_is_positive(image: SignalSpec) -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        LogitLaplaceConfig(scale=0.0)
    with pytest.raises(UserError, match=r"losses\.dwt: defined for video, not image"):
        resolve("ae", image, {"losses": {"dwt": 1.0}})
