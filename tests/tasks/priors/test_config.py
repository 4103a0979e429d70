"""Priors by name: choice, checks, costs; without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import choose, priors, resolve_prior
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def spec(*shape: int, channels: int = 4, sizes: tuple[int, ...] = (), **rest) -> LatentSpec:
    grid = LatentGrid(shape=shape, channels=channels, codebook_sizes=sizes, **rest)
    return LatentSpec(signal=SIGNAL, grids=(grid,))


def test_the_prior_follows_the_kind_of_latents() -> None:
    assert choose(spec(4, 4, sizes=(16,))) == "ar"
    assert choose(spec(4, 4)) == "flow"
    assert isinstance(resolve_prior("auto", {}, spec(4, sizes=(9, 9)), where="s"), ARConfig)
    assert isinstance(resolve_prior("flow", {"steps": 3}, spec(4, 4, 4), where="s"), FlowConfig)


def test_a_prior_that_cannot_is_refused_and_the_others_named() -> None:
    with pytest.raises(UserError, match=r"^s\.toml: prior 'ar' can't model .*continuous; can: flow, "):
        resolve_prior("ar", {}, spec(4, 4), where="s.toml")
    with pytest.raises(UserError, match=r"prior 'flow' can't model .*codes; can: ar, "):
        resolve_prior("flow", {}, spec(4, 4, sizes=(8,)), where="s")
    with pytest.raises(UserError, match="can't model"):
        build_prior(FlowConfig(), spec(4, sizes=(8,)))
    with pytest.raises(UserError, match="no known prior can"):
        choose(spec(8, topology="set", variable=True))
    with pytest.raises(UserError, match="did you mean 'flow'"):
        resolve_prior("flwo", {}, spec(8), where="s")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ar", {"widht": 3}, "did you mean 'width'"),
        ("ar", {"width": 10, "attention_heads": 4}, "multiple of twice the attention_heads"),
        ("ar", {"temperature": 0.0}, "temperature must be positive"),
        ("ar", {"top_p": 0.0}, "top_p"),
        ("ar", {"training": {"stesp": 4}}, r"training\.stesp: unknown key"),
    ],
)
def test_bad_options_are_one_clear_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_prior(name, options, spec(4, sizes=(8,)), where="s.toml: prior")
    assert str(caught.value).startswith("s.toml: prior")
    assert "\n" not in str(caught.value)


def test_patches_bound_the_tokens() -> None:
    assert FlowConfig().patch_for(spec(16, 16)) == (1, 1)
    assert FlowConfig().patch_for(spec(64, 64)) == (4, 4)
    assert FlowConfig().patch_for(spec(600)) == (4,)
    assert FlowConfig().patches_for(spec(601)) == (151,)
    assert FlowConfig(max_tokens=64).patch_for(spec(4, 16, 16)) == (1, 4, 4)
    with pytest.raises(
        UserError, match=r"^s: prior 'flow' .*: its patch \[2\] is not one .* of \[8, 8\]; can: cascade"
    ):
        resolve_prior("flow", {"patch": [2]}, spec(8, 8), where="s")


def test_protocol_has_the_sampling_settings() -> None:
    assert ARConfig(temperature=0.9, top_k=5).protocol == "ar v2, temperature 0.9, top_k 5, top_p 1"
    assert FlowConfig(sampler="heun", steps=7).protocol == "flow v3, heun 7 steps"


@pytest.mark.parametrize("sizes", [(), (32,), (32, 16, 8)])
def test_flops_are_those_that_torch_counts(sizes: tuple[int, ...]) -> None:
    latents_spec = spec(4, 6, sizes=sizes)
    config = resolve_prior("auto", {"width": 32, "layers": 3}, latents_spec, where="s")
    prior = build_prior(config, latents_spec)
    codes = torch.stack([torch.randint(k, (2, 4, 6)) for k in sizes], 1) if sizes else None
    batch = LatentBatch(latents=Latents(values=torch.randn(2, 4, 4, 6), codes=codes))
    with FlopCounterMode(display=False) as counter:
        prior.losses(batch, group="model", step=0, steps=1)
    # the counter knows no fused attention on a CPU: 2 n^2 d for a causal one (half is masked), 4 n^2 d for a full one
    attention = 3 * (2 if sizes else 4) * 24 * 24 * 32
    assert counter.get_total_flops() / 2 + attention == pytest.approx(config.forward_flops(latents_spec), rel=1e-6)


def test_sampling_flops() -> None:
    forward = FlowConfig().forward_flops(spec(4, 4))
    assert FlowConfig(steps=10, sampler="heun").sampling_flops(spec(4, 4)) == 20 * forward
    assert ARConfig().sampling_flops(spec(4, sizes=(8,))) == ARConfig().forward_flops(spec(4, sizes=(8,)))


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from latentbench.tasks.priors.config import priors; [priors.get(name) for name in priors]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_all_priors_have_a_name_a_version_and_a_model() -> None:
    for name in priors:
        config = priors.get(name)
        assert config.kind == name
        assert config.version >= 1
        assert issubclass(config()._resolve("builds"), Prior)


SPECS = (
    spec(4, sizes=(8, 5)),
    spec(4),
    replace(spec(2, sizes=(8,)), grids=(*spec(2, sizes=(8,)).grids, *spec(4, sizes=(5,)).grids)),
    spec(4, sizes=(8,), topology="set"),
    spec(4, topology="set"),
)


@pytest.mark.parametrize("name", sorted(priors))
def test_every_likelihood_among_the_held_out_scores_is_declared(name: str) -> None:
    options = {"likelihood": "hutchinson", "likelihood_steps": 1} if name in ("diffwave", "flow", "unet") else {}
    config = priors.get(name)(**options)
    latents_spec = next(s for s in SPECS if config.unsupported_reason(s) is None)
    levels = []
    for grid in latents_spec.grids:
        codes = [torch.randint(k, (2, *grid.shape)) for k in grid.codebook_sizes]
        levels.append(Latents(values=torch.randn(2, 4, *grid.shape), codes=torch.stack(codes, 1) if codes else None))
    batch = LatentBatch(latents=replace(levels[0], rest=tuple(levels[1:])))
    prior = build_prior(config, latents_spec)
    declared = {score.name for score in prior.held_out_scores}
    assert {score for score in prior.held_out(batch) if score.startswith("nll")} <= declared
    assert all(score.unit == "bit" and "sample" in score.protocol for score in prior.held_out_scores)
