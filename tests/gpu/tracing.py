"""What the real code would do on a GPU, traced on tensors that hold no data (FakeTensorMode, device cuda:0).

`python -P tests/gpu/tracing.py [--backwards] [NAME...]` writes a line of JSON per subject (its group, its name, its
trace), the last subject first with `--backwards`; tests read it from a process of its own, since tables that parts keep
for later are fake ones in a process that traces.

torch's engine refuses a backward pass on fake CUDA tensors without a driver. So a step is traced twice: its losses on
fake CUDA tensors under bfloat16 autocast (devices, synchronisations, copies, memory formats), and the whole step of the
training loop in float32 on fake CPU tensors (operators, the nondeterministic ones among them).
"""

from __future__ import annotations

import gc
import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._pytree import tree_leaves

import latentbench.bench
from latentbench.bench.footprint import LiveBytes, fake_mode, latents, make_fake, signals, unallocated
from latentbench.bench.training import _Loop
from latentbench.tasks.latents import LatentBatch
from latentbench.tokenizers.interface import Trainable
from latentbench.tokenizers.memory_format import set_format
from latentbench.tokenizers.training import TrainingConfig

CUDA = "cuda:0"
BATCH = 8
STEPS = 1_000_000  # every milestone falls on a step of its own

ROOT = Path(latentbench.bench.__file__).parents[1]
_OURS = tuple(f"{ROOT / folder}/" for folder in ("bench", "tasks", "tokenizers"))

# Operators after which the host waits for the device, since it needs a number or a shape that the data decide.
_WAITS = {
    f"aten::{name}"
    for name in ("_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero", "bincount", "_unique2")
}
# By torch's notes on `use_deterministic_algorithms`: order of atomic additions, or the choice of an algorithm.
_NONDETERMINISTIC = (
    *("index_add", "index_put", "index_reduce", "put", "scatter_add", "scatter_reduce", "bincount", "histc"),
    *("cumsum", "kthvalue", "median", "embedding_dense_backward", "convolution_backward", "grid_sampler"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward", "nll_loss2d"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward", "_ctc_loss"),
    *("max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward", "_adaptive_avg_pool2d_backward"),
    *("_adaptive_avg_pool3d_backward", "avg_pool3d_backward", "max_unpool2d", "fractional_max_pool2d_backward"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"),
)
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Trace(LiveBytes):
    """Counts operators (views left out) and what a GPU would wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.synchronisations: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.convolutions: Counter[str] = Counter()

    def _add(self, tensor: Tensor) -> None:
        """Bytes are not asked for here, and counting them takes half of a trace's time."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace != "aten":
            return super().__torch_dispatch__(func, types, args, kwargs)
        name = func.name().partition(".")[0]
        on_device = any(isinstance(leaf, Tensor) and leaf.device.type == "cuda" for leaf in tree_leaves(args))
        if not func.is_view:
            self.operators[name.removeprefix("aten::")] += 1
        if on_device and (name in _WAITS or (name == "aten::index" and _is_masked(args[1]))):
            self.synchronisations[f"{name.removeprefix('aten::')} in {_place()}"] += 1
        if name == "aten::convolution" and on_device:
            self.convolutions[_formats(args[0], args[1])] += 1
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if name in ("aten::_to_copy", "aten::copy_") and _is_blocking(args, kwargs or {}, result):
            self.copies[_place()] += 1
        return result

    def clear(self) -> None:
        """Forget what was counted."""
        for counter in (self.operators, self.synchronisations, self.copies, self.convolutions):
            counter.clear()

    @property
    def nondeterministic(self) -> dict[str, int]:
        """Those of the operators that may give other bits in another run on a GPU."""
        names = {
            name: name.rstrip("_")
            for name in self.operators
            if name.rstrip("_") in _NONDETERMINISTIC or (name.startswith("_scaled_dot") and name.endswith("backward"))
        }
        return dict(sorted((name, self.operators[key]) for key, name in names.items()))


def _is_masked(indices: Any) -> bool:
    return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _is_blocking(args: Any, options: Mapping[str, Any], result: Tensor) -> bool:
    """Whether a copy goes from one device to another and the host waits for it."""
    devices = {leaf.device.type for leaf in (*tree_leaves(args), result) if isinstance(leaf, Tensor)}
    non_blocking = options.get("non_blocking") or (len(args) > 2 and args[2] is True)
    return len(devices) > 1 and not non_blocking


def _formats(x: Tensor, weight: Tensor) -> str:
    """Which of both have channels last; the same where either layout fits."""
    if x.ndim not in _FORMATS:
        return "alike"
    last = [tensor.is_contiguous(memory_format=_FORMATS[x.ndim]) for tensor in (x, weight)]
    plain = [tensor.is_contiguous() for tensor in (x, weight)]
    if all(last) or all(plain):
        return "alike"
    return f"{'channels last' if last[0] else 'contiguous'} by {'channels last' if last[1] else 'contiguous'} weights"


def _as_cudnn(x: Tensor, weight: Tensor, backend: Any) -> torch.memory_format:
    """The layout of a convolution's output, by torch's `cudnn_conv_suggest_memory_format`: without CUDA torch takes
    that of another library."""
    last = _FORMATS.get(x.ndim)
    if last and any(item.is_contiguous(memory_format=last) and not item.is_contiguous() for item in (x, weight)):
        return last
    return torch.contiguous_format


def _place() -> str:
    """The module and function of our code that is running: lines move too often."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            return _named(frame.f_code)
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


@contextmanager
def fake_cuda() -> Iterator[Trace]:
    """Inside, tensors may be on a CUDA device that is not there."""

    def grad(outputs: Any, inputs: Any, *args: Any, **options: Any) -> tuple[Tensor, ...]:
        return tuple(torch.zeros_like(item) for item in ([inputs] if isinstance(inputs, Tensor) else inputs))

    with (
        mock.patch("torch._C._conv_determine_backend_memory_format", _as_cudnn),
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
        mock.patch("torch.autograd.grad", grad),
        fake_mode(),
        Trace() as trace,
    ):
        yield trace


def traced(make: Callable[[], Trainable], batch: Callable[[str], Any], config: TrainingConfig) -> dict[str, Any]:
    """Both traces of a step after the last milestone: what is frozen of it."""
    model = unallocated(make).train()
    step = int(max(model.schedule_milestones()) * STEPS) + 1
    with fake_cuda() as cuda:
        make_fake(model, CUDA)
        set_format(model, "channels_last")  # as the training loop does for bfloat16
        item = batch(CUDA)

        def losses() -> None:
            cuda.clear()
            for group in [name for name, params in model.param_groups().items() if params]:
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    model.losses(item, group=group, step=step, steps=STEPS)
            model.after_step(step=step, steps=STEPS)

        losses()
        if cuda.copies:  # tables that are copied once and remembered don't count
            losses()
    whole = _whole_step(make, batch, replace(config, precision="float32"), step)
    return {
        "operators": whole.operators.total(),
        "forward operators in bfloat16": cuda.operators.total(),
        "nondeterministic": whole.nondeterministic,
        "synchronisations": dict(cuda.synchronisations),
        "blocking copies": dict(cuda.copies),
        "convolutions": dict(cuda.convolutions),
    }


class _Same:
    """A source with one batch."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return BATCH

    def batch(self, indices: np.ndarray, device: torch.device) -> Any:
        return self.item


def _whole_step(make: Callable[[], Trainable], batch: Callable[[str], Any], config: TrainingConfig, step: int) -> Trace:
    """A step as the training loop does it, from the second on."""
    model = unallocated(make).train()
    as_on_a_gpu = mock.patch("torch.nn.utils.clip_grad._has_foreach_support", return_value=True)
    with as_on_a_gpu, fake_mode(), Trace() as trace:
        make_fake(model)
        loop = _Loop(model, _Same(batch("cpu")), config, seed=0, device=torch.device("cpu"))
        loop.state.steps, loop.state.step = STEPS, step
        for name, optimiser in loop.optimisers.items():
            model.losses(loop.batches.at(0, 1), group=name, step=step, steps=STEPS)
            for parameter in loop.param_groups[name]:
                parameter.grad = torch.zeros_like(parameter)
            optimiser.step()
        trace.clear()  # tables that are made once and remembered, and the optimiser's states, don't count
        loop.step()
    return trace


def evaluated(make: Callable[[], Any], work: Callable[[Any], Callable[[], Any]]) -> dict[str, Any]:
    """What the second of two calls waits for: of what `work` prepares for the module that `make` makes, in float32."""
    model = unallocated(make).eval()
    with fake_cuda() as trace, torch.no_grad():  # inference mode would show operators before they are taken apart
        make_fake(model, CUDA)
        set_format(model, "contiguous")  # as `set_precision` does for float32
        call = work(model)
        try:
            call()
            trace.clear()
            call()
        except (GuardOnDataDependentSymNode, DataDependentOutputException, RuntimeError) as error:
            if type(error) is RuntimeError and ".numpy()" not in str(error):
                raise
            return {"untraceable": f"the host waits for data in {_raised(error)}"}
    return {
        "operators": trace.operators.total(),
        "synchronisations": dict(trace.synchronisations),
        "blocking copies": dict(trace.copies),
    }


def _raised(error: BaseException) -> str:
    """The innermost place of ours that an error has come through."""
    places = traceback.walk_tb(error.__traceback__)
    codes = [frame.f_code for frame, _ in places if frame.f_code.co_filename.startswith(_OURS)]
    codes = [code for code in codes if Path(code.co_filename).name != "footprint.py"]  # which only watches
    return _named(codes[-1]) if codes else "elsewhere"


def _named(code: CodeType) -> str:
    return f"{Path(code.co_filename).relative_to(ROOT)} {code.co_qualname}"


def signal_batch(spec: Any) -> Callable[[str], Tensor]:
    """A batch as a tokenizer is trained on, by device."""

    def batch(device: str) -> Tensor:
        with torch.device(device):
            return signals(spec, BATCH)

    return batch


def latent_batch(spec: Any) -> Callable[[str], LatentBatch]:
    """A batch as a prior is trained on, by device; its indices stay on the CPU."""

    def batch(device: str) -> LatentBatch:
        with torch.device(device):
            item = latents(spec, BATCH)
        return replace(item, indices=torch.arange(BATCH))

    return batch


def _filters(window: int, bins: int, rate: float) -> Tensor:
    """In the place of mel filters, a table that is made once and doesn't count: torchaudio makes it by way of sizes
    that depend on data, and whatever is computed with such sizes takes a trace long."""
    return torch.zeros(bins, window // 2 + 1)


def main() -> None:
    """Write what the command line names; without a name, everything."""
    import subjects

    torch.set_num_threads(1)
    names = {argument for argument in sys.argv[1:] if argument != "--backwards"}
    items = [(group, name, trace) for group, every in subjects.ALL.items() for name, trace in every().items()]
    gc.freeze()
    gc.disable()  # a fake tensor is many objects: to look through them takes a quarter of a trace's time
    with mock.patch("latentbench.tokenizers.losses.mel_scales.slaney_filters", _filters):
        for group, name, trace in reversed(items) if "--backwards" in sys.argv else items:
            if not names or name in names:
                print(json.dumps([group, name, _answer(trace)]), flush=True)
                gc.collect()


def _answer(trace: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a trace gives, or its error."""
    try:
        return trace()
    except Exception as error:  # devices that are mixed, first of all
        line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return {"error": f"{line} in {_raised(error)}"}


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))
    main()
