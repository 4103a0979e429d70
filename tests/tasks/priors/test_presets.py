"""Named sizes: what they stand for, that they can be built, and that kinds of priors compare."""

from __future__ import annotations

import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import FlowConfig, PriorConfig, priors, resolve_prior
from latentbench.tasks.priors.presets import sizes_of, with_size
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def spec(sizes: tuple[int, ...] = (), shape: tuple[int, ...] = (64,)) -> LatentSpec:
    return LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=shape, channels=8, codebook_sizes=sizes),))


def test_options_beside_a_size_win() -> None:
    config = resolve_prior("flow", {"size": "s", "layers": 2}, spec(), where="suite")
    assert (config.width, config.layers) == (192, 2)
    assert with_size(FlowConfig, {"layers": 2}, where="suite") == {"layers": 2}
    assert resolve_prior("flow", {}, spec(), where="suite") == FlowConfig()


def test_an_unknown_size_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"^suite: size: .*'l'"):
        resolve_prior("flow", {"size": "l"}, spec(), where="suite")
    with pytest.raises(UserError, match="no named sizes"):
        with_size(PriorConfig, {"size": "s"}, where="suite")


@pytest.mark.parametrize("name", ["ar", "cascade", "diffwave", "flow", "givt", "mar", "unet", "wavenet"])
def test_sizes_of_all_kinds_are_alike(name: str) -> None:
    latents = spec((256,) if name in ("ar", "wavenet") else (), (8, 8) if name == "unet" else (64,))
    parameters = []
    for size in sizes_of(priors.get(name)):
        config = resolve_prior(name, {"size": size}, latents, where="suite")
        if size != "m":  # large to build in a test
            parameters.append(sum(p.numel() for p in build_prior(config, latents).parameters()))
    assert len(parameters) == 2
    assert 0.3e6 < parameters[0] < 1.8e6
    assert 2e6 < parameters[1] < 9e6
