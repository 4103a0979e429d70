"""Options of the priors: what they can model, refuse and cost, and their named sizes; without torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import PriorConfig, choose, priors, resolve_prior
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
BYTES = LatentGrid(shape=(20,), channels=1, codebook_sizes=(256,), topology="sequence", variable=True)
COARSE = LatentGrid(shape=(2, 3), channels=4, codebook_sizes=(8, 5))
FINE = LatentGrid(shape=(4, 6), channels=4, codebook_sizes=(7,))
CUBE = LatentGrid(shape=(2, 3, 4), channels=4, codebook_sizes=(7,))


def spec(*grids: LatentGrid) -> LatentSpec:
    return LatentSpec(signal=SIGNAL, grids=grids)


def able(latents: LatentSpec) -> set[str]:
    return {
        name
        for name in ("ar", "pixelcnn", "maskgit", "hierarchical")
        if priors.get(name)().unsupported_reason(latents) is None
    }


def test_each_models_what_it_can() -> None:
    assert able(spec(FINE)) == able(spec(CUBE)) == {"ar", "pixelcnn", "maskgit"}
    assert able(spec(COARSE, FINE)) == {"hierarchical"}
    assert able(spec(BYTES)) == {"ar"}
    assert able(spec(replace(BYTES, topology="grid"))) == set()
    assert able(spec(replace(BYTES, topology="set"))) == set()
    assert able(spec(COARSE, CUBE)) == set()
    assert able(spec(LatentGrid(shape=(4, 4), channels=3))) == set()
    assert choose(spec(COARSE, FINE)) == "hierarchical"
    assert choose(spec(BYTES)) == "ar"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pixelcnn", {"kernel": 4}, "kernel must be odd"),
        ("pixelcnn", {"layers": 0}, "layers"),
        ("pixelcnn", {"classes": 3}, "unknown key"),
        ("maskgit", {"steps": 0}, "steps"),
        ("maskgit", {"choice_temperature": -1.0}, "choice_temperature"),
        ("maskgit", {"temperature": 0.0}, "temperature"),
        ("ar", {"order": "zigzag"}, "order"),
    ],
)
def test_bad_options_are_one_clear_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_prior(name, options, spec(FINE), where="s.toml: prior")
    assert "\n" not in str(caught.value)


def test_a_hierarchy_checks_the_options_of_its_grids() -> None:
    with pytest.raises(UserError, match="multiple of twice the attention_heads"):
        resolve_prior("hierarchical", {"width": 10, "attention_heads": 4}, spec(COARSE, FINE), where="s")
    with pytest.raises(UserError, match="it models hierarchies"):
        resolve_prior("hierarchical", {}, spec(FINE), where="s")


def test_protocols_have_the_sampling_settings() -> None:
    def line(name: str, *grids: LatentGrid, **options) -> str:
        return resolve_prior(name, options, spec(*grids), where="s").protocol

    assert line("pixelcnn", FINE, top_k=3) == "pixelcnn v2, temperature 1, top_k 3, top_p 1"
    assert line("maskgit", FINE, steps=4, classes=5, guidance=2.0) == (
        "maskgit v3, 4 steps, choice temperature 4.5, temperature 1, top_k 0, top_p 1, 5 classes, guidance 2"
    )
    assert line("hierarchical", COARSE, FINE) == "hierarchical v3, temperature 1, top_k 0, top_p 1"
    assert line("ar", COARSE, order="delay") == "ar v2, delay order, temperature 1, top_k 0, top_p 1"


@pytest.mark.parametrize(
    ("name", "grids", "options", "attention"),
    [
        ("pixelcnn", (FINE,), {"width": 12, "layers": 2}, 0),
        ("pixelcnn", (replace(COARSE, shape=(5,)),), {"width": 12, "layers": 2}, 0),
        ("pixelcnn", (CUBE,), {"width": 12, "layers": 2, "kernel": 3}, 0),
        # the counter knows no fused attention on a CPU: 2 n^2 d for a causal layer (half is masked), 4 n^2 d for a full
        ("maskgit", (COARSE,), {"width": 16, "layers": 2, "attention_heads": 2}, 2 * 4 * 6**2 * 16),
        (
            "hierarchical",
            (COARSE, FINE),
            {"width": 16, "layers": 2, "attention_heads": 2},
            2 * 2 * (6**2 + 24**2) * 16 + 4 * 6**2 * 16,
        ),
        ("ar", (COARSE,), {"width": 16, "layers": 2, "attention_heads": 2, "order": "delay"}, 2 * 2 * 7**2 * 16),
        ("ar", (BYTES,), {"width": 16, "layers": 2, "attention_heads": 2}, 2 * 2 * 20**2 * 16),
    ],
)
def test_flops_are_those_that_torch_counts(name: str, grids: tuple, options: dict, attention: int) -> None:
    latents_spec = spec(*grids)
    config = resolve_prior(name, options, latents_spec, where="s")
    prior = build_prior(config, latents_spec)
    levels = [
        Latents(codes=torch.stack([torch.randint(k, (2, *grid.shape)) for k in grid.codebook_sizes], 1))
        for grid in grids
    ]
    with FlopCounterMode(display=False) as counter:
        prior.losses(LatentBatch(latents=replace(levels[0], rest=tuple(levels[1:]))), group="model", step=0, steps=1)
    assert counter.get_total_flops() / 2 + attention == pytest.approx(config.forward_flops(latents_spec), rel=1e-6)


def test_guidance_doubles_the_cost_of_sampling() -> None:
    for name, grids in (("ar", (FINE,)), ("maskgit", (FINE,)), ("hierarchical", (COARSE, FINE))):
        plain, twice = (
            resolve_prior(name, {"classes": 3, "guidance": scale}, spec(*grids), where="s").sampling_flops(spec(*grids))
            for scale in (1.0, 2.0)
        )
        assert twice == 2 * plain


def sized(codes: tuple[int, ...] = (), shape: tuple[int, ...] = (64,)) -> LatentSpec:
    return spec(LatentGrid(shape=shape, channels=8, codebook_sizes=codes))


def test_options_beside_a_size_win() -> None:
    config = resolve_prior("flow", {"size": "s", "layers": 2}, sized(), where="suite")
    assert (config.width, config.layers) == (192, 2)
    assert FlowConfig.with_size({"layers": 2}, where="suite") == {"layers": 2}
    assert resolve_prior("flow", {}, sized(), where="suite") == FlowConfig()


def test_an_unknown_size_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"^suite: size: .*'l'"):
        resolve_prior("flow", {"size": "l"}, sized(), where="suite")
    with pytest.raises(UserError, match="no named sizes"):
        PriorConfig.with_size({"size": "s"}, where="suite")


@pytest.mark.parametrize("name", ["ar", "cascade", "diffwave", "flow", "givt", "mar", "unet", "wavenet"])
def test_sizes_of_all_kinds_are_alike(name: str) -> None:
    latents = sized((256,) if name in ("ar", "wavenet") else (), (8, 8) if name == "unet" else (64,))
    parameters = []
    for size in priors.get(name).sizes:
        config = resolve_prior(name, {"size": size}, latents, where="suite")
        if size != "m":  # large to build in a test
            parameters.append(sum(p.numel() for p in build_prior(config, latents).parameters()))
    assert len(parameters) == 2
    assert 0.3e6 < parameters[0] < 1.8e6
    assert 2e6 < parameters[1] < 9e6
