"""RVQ with factorised codes against transformers' DAC quantiser: codes, values, losses, gradients; depth and price."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.bench.flops import counter
from latentbench.tokenizers.bottlenecks.factorised_rvq import FactorisedRVQ
from latentbench.tokenizers.bottlenecks.factorised_rvq_config import FactorisedRVQConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

DIM, CODE, SIZE, LEVELS, STEPS = 12, 3, 16, 4, 20


def quantiser(**options: Any) -> FactorisedRVQ:
    torch.manual_seed(0)
    chosen = {"codebook_size": SIZE, "levels": LEVELS, "dropout": 0.0, "code_channels": CODE} | options
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(STEPS * 8,), rate=8000.0)
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=(STEPS,), channels=DIM),))
    return FactorisedRVQ(FactorisedRVQConfig(**chosen), spec, features=DIM)


def dacs(ours: FactorisedRVQ) -> Any:
    """Transformers' quantiser with the weights of ours."""
    dac = pytest.importorskip("transformers.models.dac.modeling_dac")
    config = dac.DacConfig(
        hidden_size=DIM, codebook_dim=CODE, codebook_size=SIZE, n_codebooks=LEVELS, quantizer_dropout=0.0
    )
    theirs = dac.DacResidualVectorQuantizer(config).eval()
    with torch.no_grad():
        for stage, other in zip(ours.stages, theirs.quantizers, strict=True):
            other.codebook.weight.copy_(stage.codebook[0])
            other.in_proj.load_state_dict(stage.down.state_dict())
            other.out_proj.load_state_dict(stage.up.state_dict())
    return theirs


def test_codes_values_losses_and_gradients_are_dacs() -> None:
    ours = quantiser()
    theirs = dacs(ours)
    x, weight = torch.randn(2, DIM, STEPS, requires_grad=True), torch.randn(2, DIM, STEPS)
    output, latents = ours(x), ours.eval().encode(x)
    (sum(output.losses.values()) + (output.values * weight).sum()).backward()
    y = x.detach().clone().requires_grad_()
    values, codes, _, commitment, codebook = theirs(y)
    # theirs leaves the weights of the losses, 0.25 and 1, to the trainer; means of equal entries
    loss = 0.25 * commitment.mean() + codebook.mean()
    (loss + (values * weight).sum()).backward()
    assert latents.codes is not None
    assert torch.equal(latents.codes, codes)
    torch.testing.assert_close(output.values, values)
    torch.testing.assert_close(latents.values, values)
    torch.testing.assert_close(sum(output.losses.values()), loss)
    torch.testing.assert_close(x.grad, y.grad)
    for stage, other in zip(ours.stages, theirs.quantizers, strict=True):
        torch.testing.assert_close(stage.codebook.grad[0], other.codebook.weight.grad)
        torch.testing.assert_close(stage.down.weight.grad, other.in_proj.weight.grad)
        torch.testing.assert_close(stage.up.weight.grad, other.out_proj.weight.grad)


def test_every_prefix_decodes_to_the_sum_of_its_stages() -> None:
    ours = quantiser().eval()
    latents = ours.encode(torch.randn(2, DIM, STEPS))
    assert latents.codes is not None
    points = ours.operating_points(lambda latent: ours.expand(latent))
    assert list(points) == [f"depth_{i}" for i in range(1, LEVELS + 1)]
    partial: Tensor = torch.zeros(2, DIM, STEPS)
    for depth, (stage, point) in enumerate(zip(ours.stages, points.values(), strict=True)):
        partial = partial + stage.up(stage.codebook[0][latents.codes[:, depth]].movedim(-1, 1))
        torch.testing.assert_close(point(Latents(codes=latents.codes)), partial)


def test_the_start_uses_every_codebook() -> None:
    ours = quantiser()
    x = torch.randn(16, DIM, STEPS)
    ours.on_train_start([x])
    codes = ours.eval().encode(x).codes
    assert codes is not None
    for level in range(LEVELS):
        assert len(codes[:, level].unique()) > SIZE / 2


def test_the_price_is_what_runs() -> None:
    ours = quantiser()
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(STEPS * 8,), rate=8000.0)
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=(STEPS,), channels=DIM),))
    config = FactorisedRVQConfig(codebook_size=SIZE, levels=LEVELS, code_channels=CODE)
    price = config.cost(spec, DIM)
    assert price.parameters == sum(p.numel() for p in ours.parameters())
    with torch.no_grad(), counter() as flops:
        ours.eval()(torch.randn(1, DIM, STEPS))
    assert price.flops == flops.get_total_flops()


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="code_channels must be at least 1"):
        FactorisedRVQConfig(code_channels=0)
    with pytest.raises(ValueError, match="normalise is not for rvq"):
        FactorisedRVQConfig(normalise=True)
