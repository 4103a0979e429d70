"""A batch in parts, and blocks computed a second time: the gradients of the whole, for every recipe and prior."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.bench.training import _Loop, train
from latentbench.bench.training_state import micro_batch
from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import batch_coupled, check_supported, priors
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents, Trainable
from latentbench.tokenizers.micro_batch import MicroBatch, divided
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec
from latentbench.tokenizers.training import TrainingConfig

CPU = torch.device("cpu")
RECIPES = [load_recipe(name) for name in recipe_names()]
TRAINED = [recipe.name for recipe in RECIPES if "codec" not in recipe.table and recipe.name != "pca"]
SHAPES = {"image": (16, 16), "spectrogram": (16, 16), "waveform": (1024,), "video": (5, 16, 16)}
CHECKPOINTING, PARTS = {"checkpointing": True}, {"micro_batch": 2}
OPTIONS: dict[str, Any] = {"training": {"batch_size": 8, "steps": 10, "warmup": 0.0}}


class Fixed:
    """Batches of the samples that it was made of."""

    def __init__(self, data: Any, size: int) -> None:
        self.data, self.size = data, size

    def __len__(self) -> int:
        return self.size

    def batch(self, indices: np.ndarray, device: torch.device) -> Any:
        parts = divided(self.data, 1)
        return _joined([parts[index] for index in indices])


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], LatentBatch):
        columns = {name: _joined([getattr(part, name) for part in parts]) for name in ("latents", "labels", "indices")}
        return LatentBatch(**columns)
    levels = [_joined_level([part.levels[k] for part in parts]) for k in range(len(parts[0].levels))]
    return replace(levels[0], rest=tuple(levels[1:]))


def _joined_level(parts: list[Latents]) -> Latents:
    whole = {name: [getattr(part, name) for part in parts] for name in ("values", "codes")}
    return Latents(**{name: torch.cat(items) for name, items in whole.items() if items[0] is not None})


def gradients(model: Trainable, data: Any, **options: Any) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Of the first step: gradients by parameter, the logged losses, and where the random generator is afterwards."""
    torch.manual_seed(0)
    config = TrainingConfig(steps=10, batch_size=8, ema=0.0, clip=0.0, warmup=0.0, lr=1e-12, **options)
    loop = _Loop(model.train(), Fixed(data, 8), config, seed=1, device=CPU)
    loop.state.steps, loop.state.step = 10, 6
    loop.step()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found, {name: value.clone() for name, value in loop.sums.items()}, torch.get_rng_state()


def assert_same(model: Trainable, data: Any, *ways: dict[str, Any]) -> None:
    """A step in each of these ways has the gradients of a plain one."""
    whole, losses, state = gradients(deepcopy(model), data)
    scale = max(float(g.abs().max()) for g in whole.values())
    for way in ways:
        again, parts, after = gradients(deepcopy(model), data, **way)
        assert whole.keys() == again.keys()
        assert losses["loss"].item() == pytest.approx(parts["loss"].item(), rel=1e-5, abs=1e-6)
        assert torch.equal(state, after)
        for name, gradient in whole.items():
            torch.testing.assert_close(
                again[name], gradient, rtol=1e-3, atol=1e-5 * scale, msg=lambda m, n=f"{name}, {way}": f"{n}: {m}"
            )


def perturbed(model: Trainable) -> Trainable:
    """Weights moved, so that nothing is the identity or zero as at the start of training."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def _small(recipe: str) -> dict[str, Any]:
    downsample = [1, 4, 4] if recipe == "framewise-vae" else 4
    return {"downsample": downsample} if recipe in ("linear-ae", "rae") else {"downsample": downsample, "width": 8}


def tokenizer(recipe: str, signal: SignalSpec) -> Callable[[], Trainable]:
    def make() -> Trainable:
        torch.manual_seed(3)
        model = build(resolve(recipe, signal, {**_small(recipe), **OPTIONS}))
        with torch.no_grad():
            model.on_train_start([torch.rand(16, *(signal.channels, *signal.shape)) * 2 - 1])
        return perturbed(model)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TRAINED)
def test_a_recipe_gives_the_same_gradients_in_parts_or_says_why_not(
    recipe: str, make_signal: Callable[..., SignalSpec]
) -> None:
    known = load_recipe(recipe).modalities
    modality = next(name for name in SHAPES if name in known)
    signal = make_signal(modality, (4, 16, 16) if recipe == "video-vae" else SHAPES[modality])
    model = tokenizer(recipe, signal)()
    data = torch.rand(8, signal.channels, *signal.shape) * 2 - 1
    if model.batch_coupled is not None:
        with pytest.raises(UserError, match=r"training\.micro_batch: a batch can't be divided here"):
            resolve(recipe, signal, {**_small(recipe), "training": {"batch_size": 8, "micro_batch": 4}})
        assert micro_batch(model, TrainingConfig(batch_size=8), 4) == 8
        assert_same(model, data, CHECKPOINTING)
    else:
        assert_same(model, data, CHECKPOINTING, PARTS)


SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
GRID = LatentGrid(shape=(4, 4), channels=2)
CODES = LatentGrid(shape=(4, 4), channels=2, codebook_sizes=(8, 5))
LINE = LatentGrid(shape=(16,), channels=2, codebook_sizes=(8,), topology="sequence")


def latents(spec: LatentSpec) -> LatentBatch:
    levels = []
    for grid in spec.grids:
        codes = [torch.randint(size, (8, *grid.shape)) for size in grid.codebook_sizes]
        values = None if codes else torch.randn(8, grid.channels, *grid.shape)
        levels.append(Latents(values=values, codes=torch.stack(codes, 1) if codes else None))
    first = replace(levels[0], rest=tuple(levels[1:]))
    return LatentBatch(latents=first, labels=torch.zeros(8, dtype=torch.int64), indices=torch.arange(8))


@pytest.mark.slow
@pytest.mark.parametrize("name", priors.names())
def test_a_prior_gives_the_same_gradients_in_parts_or_says_why_not(name: str) -> None:
    torch.manual_seed(0)
    config = priors.get(name)()
    specs = [LatentSpec(signal=SIGNAL, grids=grids) for grids in _GRIDS]
    spec = next(spec for spec in specs if config.unsupported_reason(spec) is None)
    small = {key: 8 for key in ("width", "inner") if hasattr(config, key)}
    small |= {key: 2 for key in ("layers", "attention_heads") if hasattr(config, key)}
    with_small = replace(config, **small, training=replace(config.training, batch_size=8))

    model, data = perturbed(build_prior(with_small, spec)), latents(spec)
    if batch_coupled(config, spec) is not None:
        divided_ = replace(with_small, training=replace(with_small.training, micro_batch=4))
        with pytest.raises(UserError, match=r"training\.micro_batch: a batch can't be divided here"):
            check_supported(divided_, spec)
        assert_same(model, data, CHECKPOINTING)
    else:
        assert_same(model, data, CHECKPOINTING, PARTS)


_GRIDS = (
    (CODES,),
    (GRID,),
    (LatentGrid(shape=(16,), channels=2),),
    (LINE,),
    (LatentGrid(shape=(16,), channels=2, codebook_sizes=(8,), topology="set"),),
    (LatentGrid(shape=(16,), channels=2, topology="set"),),
    (LatentGrid(shape=(2, 2), channels=2, codebook_sizes=(8,)), CODES),
)


def test_parts_draw_the_rows_of_the_whole() -> None:
    torch.manual_seed(4)
    like = torch.empty(6, 3, 5, 5).to(memory_format=torch.channels_last)
    state = torch.get_rng_state()
    whole = torch.randn_like(like), torch.rand(6, 2), torch.rand(()), torch.empty(6, 9).bernoulli_(0.3)
    for number in range(3):
        torch.set_rng_state(state)
        part = like[2 * number : 2 * number + 2]
        with MicroBatch(number, 3, 2):
            drawn = torch.randn_like(part), torch.rand(2, 2), torch.rand(()), torch.empty(2, 9).bernoulli_(0.3)
        for own, all_ in zip(drawn, whole, strict=True):
            assert torch.equal(own, all_[2 * number : 2 * number + 2] if all_.dim() else all_)


def test_a_batch_is_divided_whatever_it_is_made_of() -> None:
    batch = {"pair": (torch.arange(4), None), "latents": Latents(codes=torch.arange(4)[:, None])}
    first, second = divided(batch, 2)
    assert first["pair"][0].tolist() == [0, 1]
    assert second["pair"][0].tolist() == [2, 3]
    assert second["pair"][1] is None
    assert second["latents"].codes.tolist() == [[2], [3]]


@pytest.mark.parametrize("size", [0, 3, 16])
def test_a_micro_batch_divides_the_batch(size: int) -> None:
    with pytest.raises(ValueError, match="micro_batch must divide batch_size"):
        TrainingConfig(batch_size=8, micro_batch=size)


def test_checkpointing_keeps_less_and_counts_the_same_work(make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("image", (16, 16))
    counts, kept = [], []
    data = Fixed(torch.rand(8, 3, 16, 16), 8)
    for options in ({}, {"checkpointing": True}, {"micro_batch": 2}):
        model = tokenizer("ae", signal)().train()
        loop = _Loop(model, data, TrainingConfig(batch_size=8, **options), seed=0, device=CPU)
        counts.append(loop._count_flops())
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=saved: s.append(x.nbytes) or x, lambda x: x):
            loop._gradients(data.data, "model")
        kept.append(sum(saved))
    assert counts[0] == counts[1] == counts[2] > 0
    assert kept[1] < 0.6 * kept[0]


def test_what_couples_a_batch_may_depend_on_options(make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("image", (16, 16))
    for recipe, options, coupled in (
        ("l-detok", {}, "latent_denoising: its noise"),
        ("l-detok", {"regularisers": {"latent_denoising": {"noise": 0.0}}}, None),
        ("soft-vq", {"bottleneck": {"entropy": 0.0}}, None),
        ("va-vae", {}, "alignment: its factor"),
        ("aligned-vae", {}, None),
    ):
        reason = resolve(recipe, signal, {**_small(recipe), **options}).batch_coupled
        assert (reason or "").startswith(coupled or "!") == bool(coupled), (recipe, options, reason)


@pytest.mark.slow
def test_a_training_in_parts_is_the_training(make_signal: Callable[..., SignalSpec], tmp_path: Path) -> None:
    signal = make_signal("image", (16, 16))
    torch.manual_seed(5)
    data = Fixed(torch.rand(24, 3, 16, 16) * 2 - 1, 24)

    def trained(name: str, divide: int = 1, **options: Any) -> dict[str, Tensor]:
        (tmp_path / name).mkdir()
        model = tokenizer("kl-vae", signal)()
        config = TrainingConfig(steps=6, batch_size=8, lr=1e-4, **options)
        train(model, data, config, seed=1, device=CPU, folder=tmp_path / name, divide=divide)
        return model.state_dict()

    start, whole = tokenizer("kl-vae", signal)().state_dict(), trained("whole")
    moved = sum(float((value - start[name]).square().sum()) for name, value in whole.items())
    for other in (trained("parts", micro_batch=2), trained("divided", divide=3), trained("again", checkpointing=True)):
        apart = sum(float((value - other[name]).square().sum()) for name, value in whole.items())
        assert apart < 1e-4 * moved  # of squares; AdamW divides small gradients by themselves
