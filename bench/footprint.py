"""Memory and FLOPs of a step by shapes alone: the real code on fake tensors, which hold no data.

`python -P -m latentbench.bench.footprint` reads {"imports", "subjects"} as JSON from standard input and writes a line
per subject: the fields of a `Footprint`, or {"error"}. A process that measures computes nothing else: tables that parts
keep for later are fake ones from then on.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..tasks.latents import LatentBatch
from ..tasks.priors.build import build_prior
from ..tasks.priors.config import priors
from ..tokenizers.answers import keep_for_answers
from ..tokenizers.build import build
from ..tokenizers.config import TokenizerConfig
from ..tokenizers.interface import Latents, Tokenizer, Trainable
from ..tokenizers.optimisers import AdamW
from ..tokenizers.recompute import recomputing
from ..tokenizers.spec import LatentGrid, LatentSpec
from ..tokenizers.training import TrainingConfig
from ..tokenizers.validation import check
from . import flops
from .footprints import Footprint, Subject
from .imports import Import, repeat_imports

_STEPS = 1_000_000  # the training's length: every milestone falls on a step of its own


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operators make, for as long as these live.

    A number that code reads from a tensor (`float(torch.rand(()))`) is one on fake tensors: all that a part may leave
    out by chance is then there. An integer is zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # half of all calls
            return func(*args)
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else False if args[0].dtype == torch.bool else 0
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = self._known[storage] = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._subtract, size)

    def _subtract(self, size: int) -> None:
        self.live -= size


@dataclass(frozen=True, kw_only=True)
class _Stage:
    peak: int
    saved: int
    flops: float


def training_footprint(
    model: Callable[[], Trainable], batch: Callable[[], Any], config: TrainingConfig, *, bfloat16: bool = False
) -> Footprint:
    """The footprint of a step of `bench.training.train`, all groups and every stage of the schedule included."""
    trained = unallocated(model).train()
    with _fake() as live:
        make_fake(trained)
        groups = {name: params for name, params in trained.param_groups().items() if params}
        optimisers = {name: AdamW(params, fused=True) for name, params in groups.items()}
        for name, params in groups.items():  # their states are there from the first step on
            for parameter in params:
                parameter.grad = torch.zeros_like(parameter)
            optimisers[name].step()
            optimisers[name].zero_grad(set_to_none=True)
        average = [p.detach().clone() for params in groups.values() for p in params] if config.ema else []
        states = live.live
        item = batch()
        starts = trained.schedule_milestones()
        stages = []
        for start in starts:
            step = math.ceil(start * _STEPS)
            stages.append(_stage(trained, item, groups, optimisers, config, step, live, bfloat16=bfloat16))
        del average
    shares = [end - start for start, end in pairwise((*starts, 1.0))]
    return Footprint(
        states=states,
        step=max((stage.peak for stage in stages), default=states) - states,
        saved=max((stage.saved for stage in stages), default=0),
        flops=sum(share * stage.flops for share, stage in zip(shares, stages, strict=True)),
    )


def _stage(
    model: Trainable,
    batch: Any,
    groups: dict[str, list[nn.Parameter]],
    optimisers: dict[str, AdamW],
    config: TrainingConfig,
    step: int,
    live: LiveBytes,
    *,
    bfloat16: bool,
) -> _Stage:
    """One step as `bench.training` does it: `batch` is one of its micro-batches."""
    live.peak = live.live
    own = {id(p.untyped_storage()) for p in model.parameters()}
    saved = 0
    again: list[FlopCounterMode] = []  # what is computed a second time doesn't count

    def second() -> FlopCounterMode:
        again.append(flops.counter())
        return again[-1]

    with flops.counter() as counter, recomputing(config.checkpointing, context=second):
        for name, params in groups.items():
            storages = _Saved(own)
            precision = torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16)
            with precision, torch.autograd.graph.saved_tensors_hooks(*storages.pair):
                losses = model.losses(batch, group=name, step=step, steps=_STEPS)
            saved = max(saved, storages.bytes)
            if "loss" not in losses:
                continue
            optimisers[name].zero_grad(set_to_none=True)
            losses["loss"].backward()
            if config.clip:
                torch.nn.utils.clip_grad_norm_(params, config.clip)
            optimisers[name].step()
            del losses
        model.after_step(step=step, steps=_STEPS)
    counted = counter.get_total_flops() - sum(item.get_total_flops() for item in again)
    return _Stage(peak=live.peak, saved=saved, flops=float(counted) * (config.batch_size // _at_a_time(config)))


def _at_a_time(config: TrainingConfig) -> int:
    """How many samples of a batch a device computes at once."""
    return config.micro_batch or config.device_batch


class _Saved:
    """Bytes of the distinct storages that are kept for a backward pass, parameters left out."""

    def __init__(self, own: set[int]) -> None:
        self.bytes = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
        self._own = own
        self.pair = (self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in self._own and storage not in self._seen:
            self._seen.add(storage)
            self.bytes += storage.nbytes()
        return tensor


def evaluation_footprint(tokenizer: Callable[[], Any], batch_size: int) -> Footprint:
    """The footprint of a batch that is encoded and decoded."""
    model = unallocated(tokenizer).eval()
    with _fake() as live, torch.no_grad():
        make_fake(model)
        assert isinstance(model, Tokenizer)
        states = live.live
        signal = signals(model.spec, batch_size)
        with flops.counter() as counter:
            model.decode(model.encode(signal))
    return Footprint(states=states, step=live.peak - states, flops=float(counter.get_total_flops()))


def signals(spec: LatentSpec, size: int) -> Tensor:
    """A batch as a tokenizer is trained on."""
    return torch.rand(size, spec.signal.channels, *spec.signal.shape)


def latents(spec: LatentSpec, size: int) -> LatentBatch:
    """A batch as a prior is trained on."""
    first, *rest = (_level(grid, size) for grid in spec.grids)
    joined = dataclasses.replace(first, rest=tuple(rest))
    return LatentBatch(latents=joined, labels=torch.zeros(size, dtype=torch.int64), indices=torch.arange(size))


def _level(grid: LatentGrid, size: int) -> Latents:
    lengths = torch.full((size,), grid.shape[0]) if grid.variable else None
    values = torch.randn(size, grid.channels, *grid.shape) if grid.channels else None
    codes = torch.zeros(size, grid.heads, *grid.shape, dtype=torch.int64) if grid.heads else None
    return Latents(values=values, codes=codes, lengths=lengths)


@contextmanager
def _fake() -> Iterator[LiveBytes]:
    """Inside, tensors have shapes and no data."""
    with fake_mode(), LiveBytes() as live:
        yield live


@cache
def fake_mode() -> FakeTensorMode:
    """The process's only one: what parts keep for later fits none but the mode in which it was made."""
    return FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)


def unallocated(make: Callable[[], Any]) -> Any:
    """The model, without its weights' memory where its parts can be built so."""
    try:
        with torch.device("meta"):
            return make()
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return make()


def make_fake(model: nn.Module, device: str = "cpu") -> None:
    """Put fake tensors on `device`, alike in shape and layout, in the place of parameters and buffers; shared ones
    stay so."""
    fakes: dict[int, Tensor] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in fakes:
                    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    fakes[id(tensor)] = nn.Parameter(fake, requires_grad=tensor.requires_grad) if is_parameter else fake
                table[name] = fakes[id(tensor)]  # type: ignore[assignment]


def measured(item: Subject) -> Footprint:
    """The footprint of `item`."""
    tokenizer = TokenizerConfig.from_json(copy.deepcopy(dict(item.tokenizer)))
    if item.kind == "evaluation":
        return evaluation_footprint(lambda: build(tokenizer), item.config["batch_size"])
    if item.kind == "tokenizer":
        training = tokenizer.training
        model: Callable[[], Trainable] = lambda: build(tokenizer)  # noqa: E731
        batch: Callable[[], Any] = lambda: signals(tokenizer.spec, _at_a_time(training))  # noqa: E731
    else:
        config = check(priors.get(item.config["prior"]), item.config["options"], where="prior")
        training = config.training
        model = lambda: build_prior(config, tokenizer.spec)  # noqa: E731
        batch = lambda: latents(tokenizer.spec, _at_a_time(training))  # noqa: E731
    bfloat16 = training.precision == "bfloat16" or (training.precision == "auto" and item.device.startswith("cuda"))
    return training_footprint(model, batch, training, bfloat16=bfloat16)


def main() -> None:
    """Measure what standard input names."""
    answers = keep_for_answers()
    request = json.load(sys.stdin)
    torch.set_num_threads(1)
    repeat_imports(Import(**item) for item in request["imports"])
    for item in request["subjects"]:
        try:
            answer = dataclasses.asdict(measured(Subject(**item)))
        except Exception as error:  # one that can't be measured has its guess
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
