"""Two processes that share each batch: the training of one process, for every recipe and prior."""

from __future__ import annotations

import faulthandler
import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from latentbench.bench.kinds import KINDS
from latentbench.bench.training import WHOLE, _Loop, train
from latentbench.results.errors import UserError
from latentbench.results.garbage import keep_what_forks_inherit
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import check_supported, priors, rank_coupled
from latentbench.tokenizers import ranks
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Trainable
from latentbench.tokenizers.options import merge
from latentbench.tokenizers.part import Part, plain
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec
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

# Python 3.12 and newer say so of every process with threads; these compute nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

Pair = Callable[..., list[Any]]
_SECONDS = 60.0


def _serve(commands: Connection, store: str) -> None:
    torch.set_num_threads(1)
    trained(*_of_recipe("kl-vae", SIGNAL), devices=1)  # by itself: it may have been forked from a thread's middle
    commands.send("ready")
    _join(1, store)
    while True:
        function, args = commands.recv()
        faulthandler.dump_traceback_later(_SECONDS / 2)  # where it hangs, if it does, before the others give it up
        try:
            commands.send((function(*args), None))
        except BaseException:
            commands.send((None, traceback.format_exc()))
        faulthandler.cancel_dump_traceback_later()


def _join(rank: int, store: str) -> None:
    limit = timedelta(seconds=_SECONDS)
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2, timeout=limit)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Calls a function of this module in two processes of a group; returns both results."""
    store = str(tmp_path_factory.mktemp("pair") / "store")
    trained(*_of_recipe("kl-vae", SIGNAL), devices=1)  # imports for some seconds, which the other process shares
    context = multiprocessing.get_context("fork")
    keep_what_forks_inherit()  # a scaler of clips, left by another test, would wait for its threads
    for _ in range(3):  # a lock that a thread of another test holds is never free in a fork
        ours, theirs = context.Pipe()
        other = context.Process(target=_serve, args=(theirs, store), daemon=True)
        other.start()
        if ours.poll(_SECONDS / 2):
            assert ours.recv() == "ready"
            break
        other.kill()
        other.join()
    else:
        pytest.fail("none of three forked processes trains")
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


def trained(
    make: Callable[[], Trainable], data: Any, options: Mapping[str, Any] = MappingProxyType({}), *, devices: int
) -> dict[str, Tensor]:
    """What two steps from the middle of a training give: losses, the first step's gradients, the state afterwards."""
    torch.manual_seed(0)
    common = {"steps": 10, "batch_size": 8, "ema": 0.0, "warmup": 0.0, "lr": 1e-5, "devices": devices}
    config = TrainingConfig(**common | dict(options))
    loop = _Loop(make().train(), Fixed(data, 8), config, seed=1, device=CPU)
    loop.state.steps, loop.state.step = 10, 6
    loop.step()
    results = {f"gradient {name}": p.grad.clone() for name, p in loop.model.named_parameters() if p.grad is not None}
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
    return trained(*make(*args), devices=1)


def _shared(make: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Tensor]:
    return trained(*make(*args), devices=2)


def _of_recipe(recipe: str, signal: SignalSpec) -> tuple[Callable[[], Trainable], Tensor]:
    generator = torch.Generator().manual_seed(2)
    return tokenizer(recipe, signal), torch.rand(8, signal.channels, *signal.shape, generator=generator) * 2 - 1


CHEAP = ("kl-vae", "vq-vae-ema", "lfq")
# Made of parts that those tried have (see below); test_micro_batch.py divides the batch of these too.
ALIKE = {
    *("ae", "aligned-vae", "causal-video-vae", "eq-vae", "flowmo", "framewise-vae", "l-detok", "nested-dropout"),
    *("prior-in-the-loop", "se-vae", "token-set", "video-fsq", "vit-vae", "vq-vae", "vq-vae-bpe", "vq-vae-entropy"),
}
# Tried with a narrower adversary, among the options below.
NARROW = ("dac", "encodec", "stable-audio-vae", "vqgan")
TRIED = [name for name in TRAINED if name not in (*ALIKE, *NARROW)]


def _signal(recipe: str, make_signal: Callable[..., SignalSpec]) -> SignalSpec:
    known = next(item for item in RECIPES if item.name == recipe).modalities
    modality = next(name for name in SHAPES if name in known)
    return make_signal(modality, (4, 16, 16) if recipe == "video-vae" else SHAPES[modality])


def _parts(recipe: str, signal: SignalSpec) -> set[tuple[str, str]]:
    """The parts of a recipe's tokenizer that may couple the samples of a batch, by slot."""
    table = resolve(recipe, signal, _small(recipe)).to_json()
    slots = ("losses", "regularisers", "auxiliary")
    parts = {(slot, part["kind"]) for slot in slots for part in table.get(slot) or ()}
    return parts | {
        (slot, table[slot]["kind"]) for slot in ("backbone", "bottleneck", "diffusion_decoder") if table.get(slot)
    }


def test_every_part_of_a_recipe_is_tried(make_signal: Callable[..., SignalSpec]) -> None:
    parts = {name: _parts(name, _signal(name, make_signal)) for name in TRAINED}
    assert parts.keys() >= ALIKE
    tried = set[tuple[str, str]]().union(*(parts[name] for name in (*TRIED, *NARROW)))
    assert {name: own - tried for name, own in parts.items() if own - tried} == {}
    assert len(tried) > 30


@pytest.mark.parametrize(
    "recipe", [name if name in CHEAP else pytest.param(name, marks=pytest.mark.slow) for name in TRIED]
)
def test_two_devices_train_a_recipe_as_one_does_or_say_why_not(
    recipe: str, make_signal: Callable[..., SignalSpec], pair: Pair
) -> None:
    signal = _signal(recipe, make_signal)
    if resolve(recipe, signal, _small(recipe)).rank_coupled is None:
        return assert_same(pair, _of_recipe, recipe, signal)
    with pytest.raises(UserError, match=r"training\.devices: several devices can't share a batch here \(diffusion: in"):
        resolve(recipe, signal, {**_small(recipe), "training": {"batch_size": 8, "devices": 2}})
    return None


def _with_options(
    recipe: str, signal: SignalSpec, options: dict[str, Any]
) -> tuple[Callable[[], Trainable], Tensor, dict[str, Any]]:
    def make() -> Trainable:
        torch.manual_seed(3)
        return perturbed(build(resolve(recipe, signal, merge(_small(recipe), options))))

    return make, _of_recipe(recipe, signal)[1], options.get("training", {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("kl-vae", {"training": {"batch_size": 8, "micro_batch": 2}}),
        ("ae", {"latent_noise": 0.3}),
        ("lfq", {"bottleneck": {"joint": True, "heads": 2}}),
        ("vqgan", {"auxiliary": {"adversary": {"net": "style"}}}),
        ("linear-ae", {"auxiliary": {"adversary": {"start": 0.0}}}),
        ("eq-vae", {"regularisers": {"equivariance": {"match": "latent", "probability": 0.9, "guard": 1.0}}}),
        ("semantic-vq", {"auxiliary": {"self_supervised": {"share": 0.9}}}),
        ("va-vae", {"regularisers": {"alignment": {"adaptive": True}}}),
        *((recipe, {"auxiliary": {"adversary": {"width": 4}}}) for recipe in NARROW),
    ],
)
def test_two_devices_train_with_options_as_one_does(
    recipe: str, options: dict[str, Any], make_signal: Callable[..., SignalSpec], pair: Pair
) -> None:
    assert_same(pair, _with_options, recipe, _signal(recipe, make_signal), options)


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


def _fitted(folder: Path, breaks_at: int | None, until: Fraction = WHOLE) -> dict[str, Tensor] | None:
    """The trained state, after that share of the steps, or None where the training breaks off at a step."""
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    make, data = _of_recipe("vq-vae-ema", signal)
    model, after_step = make(), type(make()).after_step

    def breaking(*, step: int, steps: int) -> None:
        if step == breaks_at:
            raise BrokenPipeError
        after_step(model, step=step, steps=steps)

    object.__setattr__(model, "after_step", breaking)
    config = TrainingConfig(steps=6, batch_size=8, devices=2)
    try:
        options: dict[str, Any] = {"folder": folder, "device": CPU, "checkpoint_seconds": 0.0, "until": until}
        train(model, Fixed(data, 8), config, seed=1, **options)
    except BrokenPipeError:
        return None
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.slow
def test_a_training_of_two_devices_goes_on_to_the_same_bits(pair: Pair, tmp_path: Path) -> None:
    for name in ("whole", "broken", "stopped"):
        (tmp_path / name).mkdir()
    whole, follower = pair(_fitted, tmp_path / "whole", None)
    assert pair(_fitted, tmp_path / "broken", 3) == [None, None]
    again, _ = pair(_fitted, tmp_path / "broken", None)
    assert None not in pair(_fitted, tmp_path / "stopped", None, Fraction(1, 3))
    later, _ = pair(_fitted, tmp_path / "stopped", None)
    assert whole.keys() == again.keys() == later.keys() == follower.keys()
    for name, value in whole.items():
        assert torch.equal(again[name], value), name
        assert torch.equal(later[name], value), name
    lines = [(tmp_path / name / "curve.jsonl").read_text().splitlines() for name in ("whole", "broken", "stopped")]
    assert [len(item) for item in lines] == [6, 6, 6]


def _shares() -> dict[str, Any]:
    x = torch.arange(4.0).view(2, 2).add(10 * ranks.number()).requires_grad_()
    (ranks.averaged(x.square().mean(0)) * ranks.gathered(x).var(0)).sum().backward()
    mixed = [
        torch.full((3,), float(ranks.number())),
        torch.full((2,), ranks.number()),
        torch.tensor(ranks.number() == 0),
    ]
    ranks.broadcast_(mixed)
    averages = [torch.full((2, 3), 1.0 + ranks.number()), torch.full((1,), 4.0 * ranks.number())]
    ranks.average_(averages)
    return {
        "x": x.detach(),
        "gradient": x.grad,
        "mixed": mixed,
        "averages": averages,
        "told": ranks.told(ranks.number()),
        "part": [ranks.own_part(slice(*rows), 4) for rows in ((0, 4), (2, 6), (0, 1), (0, 8))],
    }


def test_means_and_rows_of_all_ranks_have_the_gradients_of_one_process(pair: Pair) -> None:
    first, second = pair(_shares)
    x = torch.cat([first["x"], second["x"]]).requires_grad_()
    (x.square().mean(0) * x.var(0)).sum().backward()
    # The loss of both is the mean over them: the gradients at their samples are divided by 2 with the parameters'.
    torch.testing.assert_close(torch.cat([first["gradient"], second["gradient"]]) / 2, x.grad)
    for told in (first, second):
        assert [item.tolist() for item in told["mixed"]] == [[0.0] * 3, [0] * 2, True]
        assert [item.tolist() for item in told["averages"]] == [[[1.5] * 3] * 2, [2.0]]
        assert told["told"] == 0
    assert first["part"] == [(slice(0, 4), 2.0), (slice(2, 4), 1.0), (slice(0, 1), 2.0), (slice(0, 4), 1.0)]
    assert second["part"] == [(slice(0, 0), 0.0), (slice(0, 2), 1.0), (slice(0, 0), 0.0), (slice(0, 4), 1.0)]


@pytest.mark.parametrize("devices", [0, 3])
def test_devices_share_a_batch_evenly(devices: int) -> None:
    with pytest.raises(ValueError, match=rf"devices must divide batch_size \(8\), got {devices}"):
        TrainingConfig(batch_size=8, devices=devices)
    with pytest.raises(ValueError, match=r"micro_batch must divide batch_size \(4 on each device\), got 8"):
        TrainingConfig(batch_size=8, devices=2, micro_batch=8)


def test_one_process_is_not_two(make_signal: Callable[..., SignalSpec]) -> None:
    make, data = _of_recipe("ae", make_signal("image", (16, 16)))
    with ranks.alone(), pytest.raises(ValueError, match=r"training\.devices is 2, and the processes here are 1"):
        _Loop(make(), Fixed(data, 8), TrainingConfig(batch_size=8, devices=2), seed=0, device=CPU)


def test_one_device_is_no_option() -> None:
    assert "devices" not in plain(TrainingConfig(devices=1))
    assert plain(TrainingConfig(devices=2))["devices"] == 2


def test_what_couples_a_batch_by_length_or_in_a_part_of_somebody_else_s_is_refused(
    make_signal: Callable[..., SignalSpec],
) -> None:
    prior = replace(priors.get("ar")(), training=TrainingConfig(devices=2))
    grid = LatentGrid(shape=(16,), channels=2, codebook_sizes=(8,), topology="sequence", variable=True)
    with pytest.raises(UserError, match=r"training\.devices: several devices can't share a batch here \(its loss is"):
        check_supported(prior, LatentSpec(signal=SIGNAL, grids=(grid,)))
    with pytest.raises(UserError, match=r"encoder\.training\.devices: several devices .* \(its views are contrasted\)"):
        KINDS.get("encoder")().read({"training": {"devices": 2}}, "encoder")

    class Coupled(Part):
        batch_coupled = "it compares samples"

    class Shared(Coupled):
        over_ranks = True

    assert (Coupled().rank_coupling(), Shared().rank_coupling()) == ("it compares samples", None)
