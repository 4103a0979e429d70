"""Which prior gets a set, what it costs, and what the options say."""

from __future__ import annotations

import pytest
import torch

from latentbench.bench.flops import counter
from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import choose, priors, resolve_prior
from latentbench.tasks.priors.set_ar_config import SetARConfig
from latentbench.tasks.priors.set_flow_config import SetFlowConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def spec(*sizes: int, topology: str = "set", n: int = 6) -> LatentSpec:
    grid = LatentGrid(shape=(n,), channels=4, codebook_sizes=sizes, topology=topology)
    return LatentSpec(signal=SIGNAL, grids=(grid,))


def test_sets_get_the_priors_of_sets_and_no_others() -> None:
    assert choose(spec(8, 4)) == "set_ar"
    assert choose(spec()) == "set_flow"
    for name in priors:
        for latents in (spec(8), spec()):
            unsupported_reason = priors.get(name)().unsupported_reason(latents)
            assert (unsupported_reason is None) == (name == ("set_ar" if latents.discrete else "set_flow")), name
    for name in ("ar", "maskgit", "flow", "unet"):
        latents = spec(8) if name in ("ar", "maskgit") else spec()
        with pytest.raises(UserError, match=f"prior '{name}' can't model these latents: it models ordered positions"):
            resolve_prior(name, {}, latents, where="s")


@pytest.mark.parametrize("name", ["set_ar", "set_flow"])
def test_a_sequence_is_no_set(name: str) -> None:
    latents = spec(8, topology="sequence") if name == "set_ar" else spec(topology="sequence")
    with pytest.raises(UserError, match=f"prior '{name}' can't model these latents: it models sets, and these latents"):
        resolve_prior(name, {}, latents, where="s")


@pytest.mark.parametrize("sizes", [(), (32,), (32, 16, 8)])
def test_flops_are_those_that_torch_counts(sizes: tuple[int, ...]) -> None:
    latents = spec(*sizes, n=24)
    config = resolve_prior("auto", {"width": 32, "layers": 3}, latents, where="s")
    prior = build_prior(config, latents)
    codes = torch.stack([torch.randint(k, (2, 24)) for k in sizes], 1) if sizes else None
    batch = LatentBatch(latents=Latents(values=torch.randn(2, 4, 24), codes=codes))
    with counter() as counted:
        prior.losses(batch, group="model", step=0, steps=1)
    # counted as if a causal mask saved nothing
    masked = 3 * 2 * 24 * 24 * 32 if sizes else 0
    assert counted.get_total_flops() / 2 - masked == pytest.approx(config.forward_flops(latents), rel=1e-6)
    assert config.sampling_flops(latents) == config.forward_flops(latents) * (1 if sizes else 50)


def test_options() -> None:
    assert SetARConfig(top_k=5).protocol == "set_ar v1, temperature 1, top_k 5, top_p 1"
    assert SetFlowConfig(sampler="heun", classes=3).protocol == "set_flow v2, heun 50 steps, 3 classes, guidance 1"
    assert resolve_prior("auto", {"size": "xs"}, spec(8), where="s").width == 96  # type: ignore[attr-defined]
    for config, options in ((SetARConfig, {"top_p": 0.0}), (SetFlowConfig, {"steps": 0}), (SetARConfig, {"width": 3})):
        with pytest.raises(ValueError, match=r"top_p|steps|width"):
            config(**options)
