"""Two processes that share each batch: the training of one process, for every recipe and prior."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from latentbench.bench.training import _Loop
from latentbench.results.errors import UserError
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import priors, rank_coupled
from latentbench.tokenizers import ranks
from latentbench.tokenizers.interface import Trainable
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, SignalSpec
from latentbench.tokenizers.training import TrainingConfig

from .test_micro_batch import (
    _GRIDS,
    CPU,
    RECIPES,
    SHAPES,
    SIGNAL,
    TRAINED,
    Fixed,
    _small,
    latents,
    perturbed,
    tokenizer,
)

Pair = Callable[..., list[Any]]
_SECONDS = 60.0


def _serve(commands: Connection, store: str) -> None:
    torch.set_num_threads(1)
    _join(1, store)
    while True:
        function, args = commands.recv()
        try:
            commands.send((function(*args), None))
        except BaseException:
            commands.send((None, traceback.format_exc()))


def _join(rank: int, store: str) -> None:
    limit = timedelta(seconds=_SECONDS)
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2, timeout=limit)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Calls a function of this module in two processes of a group; returns both results."""
    store = str(tmp_path_factory.mktemp("pair") / "store")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    other = context.Process(target=_serve, args=(theirs, store), daemon=True)
    other.start()
    _join(0, store)

    def call(function: Callable[..., Any], *args: Any) -> list[Any]:
        ours.send((function, args))
        own = function(*args)
        result, error = ours.recv()
        assert error is None, error
        return [own, result]

    yield call
    dist.destroy_process_group()
    other.kill()
    other.join()


def trained(make: Callable[[], Trainable], data: Any, devices: int) -> dict[str, Tensor]:
    """What three steps from the middle of a training give: losses, the first step's gradients, the state afterwards."""
    torch.manual_seed(0)
    config = TrainingConfig(steps=10, batch_size=8, ema=0.0, warmup=0.0, lr=1e-5, devices=devices)
    loop = _Loop(make().train(), Fixed(data, 8), config, seed=1, device=CPU)
    loop.state.steps, loop.state.step = 10, 6
    loop.step()
    results = {f"gradient {name}": p.grad.clone() for name, p in loop.model.named_parameters() if p.grad is not None}
    loop.step()
    loop.step()
    results |= {f"loss {name}": value.clone() for name, value in loop.sums.items()}
    results["random state"] = torch.get_rng_state()
    return results | {f"state {name}": value.clone() for name, value in loop.model.state_dict().items()}


def assert_same(pair: Pair, make: Callable[..., Any], *args: Any) -> None:
    """`make` returns how to build the model, and its data."""
    with ranks.alone():
        whole = _whole(make, args)
    first, second = pair(_shared, make, args)
    assert whole.keys() == first.keys() == second.keys()
    scale = max(float(g.abs().max()) for name, g in whole.items() if name.startswith("gradient"))
    for name, value in whole.items():
        assert torch.equal(first[name], second[name]), name
        if name == "random state":
            assert torch.equal(first[name], value)
            continue
        tolerance = 1e-5 * scale if name.startswith("gradient") else 4e-5  # AdamW's steps are up to 1e-5
        close = {"rtol": 2e-3, "atol": tolerance}
        torch.testing.assert_close(first[name], value, **close, msg=lambda m, n=name: f"{n}: {m}")


def _whole(make: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Tensor]:
    return trained(*make(*args), 1)


def _shared(make: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Tensor]:
    return trained(*make(*args), 2)


def _of_recipe(recipe: str, signal: SignalSpec) -> tuple[Callable[[], Trainable], Tensor]:
    generator = torch.Generator().manual_seed(2)
    return tokenizer(recipe, signal), torch.rand(8, signal.channels, *signal.shape, generator=generator) * 2 - 1


CHEAP = ("kl-vae", "vq-vae-ema", "lfq")


@pytest.mark.parametrize(
    "recipe", [name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in TRAINED]
)
def test_two_devices_train_a_recipe_as_one_does_or_say_why_not(
    recipe: str, make_signal: Callable[..., SignalSpec], pair: Pair
) -> None:
    known = next(item for item in RECIPES if item.name == recipe).modalities
    modality = next(name for name in SHAPES if name in known)
    signal = make_signal(modality, (4, 16, 16) if recipe == "video-vae" else SHAPES[modality])
    if resolve(recipe, signal, _small(recipe)).rank_coupled is None:
        return assert_same(pair, _of_recipe, recipe, signal)
    with pytest.raises(UserError, match=r"training\.devices: several devices can't share a batch here \(diffusion: in"):
        resolve(recipe, signal, {**_small(recipe), "training": {"batch_size": 8, "devices": 2}})
    return None


def _of_prior(name: str, spec: LatentSpec) -> tuple[Callable[[], Trainable], Any]:
    config = priors.get(name)()
    small = {key: 8 for key in ("width", "inner") if hasattr(config, key)}
    small |= {key: 2 for key in ("layers", "attention_heads") if hasattr(config, key)}

    def make() -> Trainable:
        torch.manual_seed(3)
        return perturbed(build_prior(replace(config, **small), spec))

    torch.manual_seed(0)
    return make, latents(spec)


@pytest.mark.parametrize(
    "name", [name if name == "maskgit" else pytest.param(name, marks=pytest.mark.slow) for name in priors.names()]
)
def test_two_devices_train_a_prior_as_one_does(name: str, pair: Pair) -> None:
    config = priors.get(name)()
    specs = [LatentSpec(signal=SIGNAL, grids=grids) for grids in _GRIDS]
    spec = next(spec for spec in specs if config.unsupported_reason(spec) is None)
    assert rank_coupled(config, spec) is None
    assert_same(pair, _of_prior, name, spec)
