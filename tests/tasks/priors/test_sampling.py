"""Sampling options of priors: they change the samples, and nothing that is trained or held out."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import PriorConfig, priors
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.part import plain
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
CODES = LatentGrid(shape=(4, 4), channels=2, codebook_sizes=(8, 5))
GRIDS = (
    (CODES,),
    (LatentGrid(shape=(4, 4), channels=2),),
    (LatentGrid(shape=(16,), channels=2),),
    (LatentGrid(shape=(16,), channels=2, codebook_sizes=(8,), topology="sequence"),),
    (LatentGrid(shape=(16,), channels=2, codebook_sizes=(8,), topology="set"),),
    (LatentGrid(shape=(16,), channels=2, topology="set"),),
    (LatentGrid(shape=(2, 2), channels=2, codebook_sizes=(8,)), CODES),
)
OTHER: dict[str, Any] = {  # values that say something else than the defaults
    "temperature": 0.4,
    "top_k": 2,
    "top_p": 0.3,
    "guidance": 4.0,
    "sampler": "heun",
    "steps": 3,
    "choice_temperature": 0.0,
    "clip": 0.1,
    "iterations": 2,
    "head_steps": 2,
}
# Written down a second time: an option that joins a prior's is looked at here before it counts as one of sampling.
CODED = {"temperature", "top_k", "top_p"}
KNOWN = {
    "ar": {"guidance", *CODED},
    "cascade": {"guidance", "sampler", "steps"},
    "diffwave": {"guidance", "sampler", "steps", "clip"},
    "flow": {"guidance", "sampler", "steps"},
    "givt": {"guidance", "temperature"},
    "hierarchical": {"guidance", *CODED},
    "mar": {"guidance", "iterations", "head_steps"},
    "maskgit": {"guidance", "steps", "choice_temperature", *CODED},
    "pixelcnn": CODED,
    "set_ar": {"guidance", *CODED},
    "set_flow": {"guidance", "sampler", "steps"},
    "unet": {"guidance", "sampler", "steps", "clip"},
    "wavenet": CODED,
}
REFUSED = {("givt", "guidance")}


def test_what_samples_is_named() -> None:
    ours = {name: priors.get(name).all_sampling_options() for name in priors.names()}
    assert ours == KNOWN
    assert set().union(*KNOWN.values()) == OTHER.keys()


def small(name: str) -> tuple[PriorConfig, LatentSpec]:
    config = priors.get(name)()
    specs = (LatentSpec(signal=SIGNAL, grids=grids) for grids in GRIDS)
    spec = next(spec for spec in specs if config.unsupported_reason(spec) is None)
    own = {option.name for option in fields(config)}
    less = {"width": 8, "inner": 8, "layers": 2, "attention_heads": 2, "classes": 3}
    return replace(config, **{key: value for key, value in less.items() if key in own}), spec


def built(config: PriorConfig, spec: LatentSpec) -> Prior:
    torch.manual_seed(3)
    prior: Prior = build_prior(config, spec)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():  # nothing is the identity or zero, as at the start of training
        for parameter in prior.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))
    return prior


def batch(spec: LatentSpec) -> LatentBatch:
    torch.manual_seed(5)
    levels = []
    for grid in spec.grids:
        codes = [torch.randint(size, (8, *grid.shape)) for size in grid.codebook_sizes]
        values = None if codes else torch.randn(8, grid.channels, *grid.shape)
        levels.append(Latents(values=values, codes=torch.stack(codes, 1) if codes else None))
    latents = replace(levels[0], rest=tuple(levels[1:]))
    return LatentBatch(latents=latents, labels=torch.arange(8) % 3, indices=torch.arange(8))


def measured(prior: Prior, data: LatentBatch) -> tuple[dict[str, Tensor], Tensor]:
    """Losses, gradients and held-out scores, and samples."""
    torch.manual_seed(7)
    losses = prior.train().losses(data, group="model", step=0, steps=2)
    losses["loss"].backward()
    found = {f"loss {key}": value.detach() for key, value in losses.items()}
    found |= {f"gradient {key}": p.grad for key, p in prior.named_parameters() if p.grad is not None}
    with torch.inference_mode():
        found |= {f"score {key}": value for key, value in prior.eval().held_out(data).items()}
        drawn = prior.sample(32, seed=1, batch_size=32)
    parts = [level.values if level.codes is None else level.codes for level in drawn.levels]
    return found, torch.cat([part.flatten(1).double() for part in parts], 1)


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in sorted(KNOWN) for option in sorted(KNOWN[name])]
)
def test_it_changes_samples_alone(name: str, option: str) -> None:
    config, spec = small(name)
    if (name, option) in REFUSED:
        with pytest.raises(ValueError, match="can't be guided"):
            replace(config, **{option: OTHER[option]})
        return
    other = replace(config, **{option: OTHER[option]})
    assert other.sampling() == {option: OTHER[option]}
    assert config.sampling() == {}
    assert other.training_identity() == config.training_identity() == config.identity()
    assert other.identity() == config.identity() | other.sampling()
    data = batch(spec)
    before, drawn = measured(built(config, spec), data)
    after, redrawn = measured(built(other, spec), data)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not torch.equal(drawn, redrawn)


def test_what_is_trained_has_the_key_that_it_had() -> None:
    """At the defaults a job's key does not know of any of this."""
    for name in priors.names():
        config = priors.get(name)()
        assert config.training_identity() == {key: value for key, value in plain(config).items() if key != "kind"}
