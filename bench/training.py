"""The one training loop: tokenizers, priors and feature encoders all pass through `train`.

Everything random in a step draws from torch's global generator, which is seeded anew for every step from (seed, step);
the order of the data is a function of (seed, epoch). A checkpoint therefore needs the step number alone to restore the
random state and the data position, and an interrupted run continues to the same bits as an undisturbed one.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..results.store import atomic_file
from ..tasks.interface import BatchSource, FitReport
from ..tokenizers.interface import Trainable
from ..tokenizers.seeding import fold
from ..tokenizers.training import TrainingConfig

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.jsonl"


class DivergedError(RuntimeError):
    """The loss became non-finite or left its starting level by orders of magnitude."""


class InterruptedTrainingError(RuntimeError):
    """Training was asked to stop; its checkpoint is written and the same call continues from it."""


@dataclass(kw_only=True)
class _State:
    """What a checkpoint holds beside tensors. `rows` is the deterministic loss curve, `seconds` the time so far."""

    step: int = 0
    steps: int = 0
    flops_per_step: float = 0.0
    first_loss: float | None = None
    rows: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


def train(
    model: Trainable,
    source: BatchSource,
    config: TrainingConfig,
    *,
    seed: int,
    folder: Path,
    device: torch.device,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
    stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 30.0,
) -> FitReport:
    """Train `model` on `source`, or go on from the checkpoint in `folder`; leaves it in eval mode with averaged weights.

    Writes `checkpoint.safetensors` (model, average, optimiser, position) every `checkpoint_seconds` and when `stop()`
    turns true, and `curve.jsonl` (loss terms, gradient norm, learning rate, samples per second). Raises DivergedError,
    InterruptedTrainingError, and UserError when the folder can't be written.
    """
    if len(source) == 0:
        raise ValueError("training needs at least one sample")
    started = time.monotonic()
    model.to(device)
    loop = _Loop(model, source, config, seed=seed, device=device)
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        loop.load(checkpoint)
    else:
        torch.manual_seed(fold(seed, "prepare"))
        with torch.no_grad():
            model.prepare(_Passes(source, config.batch_size, device))
        loop.plan_steps()
        if loop.state.steps:
            loop.save(checkpoint, started)
    state = loop.state
    curve = _Curve(folder / CURVE, state.rows)
    log_every = max(1, state.steps // 50)
    saved_at = window_at = time.monotonic()
    window: dict[str, Tensor] = {}
    window_steps = 0
    model.train()
    while state.step < state.steps:
        for name, value in loop.step().items():
            window[name] = window[name] + value if name in window else value
        window_steps += 1
        state.step += 1
        if state.step % log_every == 0 or state.step == state.steps:
            row = {name: float(total) / window_steps for name, total in window.items()}
            now = time.monotonic()
            rate = window_steps * config.batch_size / max(now - window_at, 1e-9)
            loop.check(row)
            state.rows.append({"step": state.step, "lr": loop.lr(state.step - 1), **row})
            curve.append(state.rows[-1], samples_per_second=rate)
            progress(state.step, state.steps, f"loss {row['loss']:.4g}")
            window, window_steps, window_at = {}, 0, now
            due = now - saved_at >= checkpoint_seconds and state.step < state.steps
            if due or stop():
                loop.save(checkpoint, started)
                saved_at = time.monotonic()
            if stop():
                raise InterruptedTrainingError(f"stopped at step {state.step} of {state.steps}")
    loop.finish()
    return FitReport(
        steps=state.steps,
        samples=state.steps * config.batch_size,
        flops=state.steps * state.flops_per_step,
        losses={k: v for k, v in (state.rows[-1] if state.rows else {}).items() if k not in ("step", "lr")},
        curve=tuple(state.rows),
        seconds=state.seconds + time.monotonic() - started,
    )


class _Loop:
    def __init__(
        self, model: Trainable, source: BatchSource, config: TrainingConfig, *, seed: int, device: torch.device
    ) -> None:
        self.model, self.source, self.config, self.seed, self.device = model, source, config, seed, device
        self.state = _State()
        # A closed form (steps = 0) may leave a model without a single trainable parameter.
        self.players = {name: params for name, params in model.players().items() if params}
        self.optimisers = {
            name: torch.optim.AdamW(
                params, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
            )
            for name, params in self.players.items()
        }
        self.parameters = [p for params in self.players.values() for p in params]
        self.average = [p.detach().clone() for p in self.parameters] if config.ema else []
        wanted = config.precision == "bfloat16" or (
            config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def plan_steps(self) -> None:
        """Count the FLOPs of one step and turn a FLOP budget into steps."""
        if not self.players or (self.config.steps == 0 and self.config.flops is None):
            return  # a closed form: `prepare` has done it all
        self.average = [p.detach().clone() for p in self.parameters] if self.config.ema else []
        self.state.flops_per_step = self._count_flops()
        if self.config.flops is None:
            self.state.steps = self.config.steps
        else:
            self.state.steps = max(1, math.floor(self.config.flops / self.state.flops_per_step))

    def _count_flops(self) -> float:
        probe = copy.deepcopy(self.model)
        torch.manual_seed(fold(self.seed, "flops"))
        batch = self.source.batch(self._indices(0), self.device)
        with FlopCounterMode(display=False) as counter:
            for player in probe.players():
                with self.autocast:
                    loss = probe.losses(batch, player=player, step=0, steps=1)["loss"]
                loss.backward()
        return float(counter.get_total_flops())

    def lr(self, step: int) -> float:
        """Linear warm-up, then cosine decay to `final_lr` x lr."""
        c, steps = self.config, self.state.steps
        warmup = math.ceil(c.warmup * steps)
        if step < warmup:
            return c.lr * (step + 1) / warmup
        share = (step - warmup) / max(1, steps - warmup)
        return c.lr * (c.final_lr + (1 - c.final_lr) * 0.5 * (1 + math.cos(math.pi * share)))

    def step(self) -> dict[str, Tensor]:
        """One step of every player; the losses as tensors on the device (nothing here waits for it)."""
        c, state = self.config, self.state
        torch.manual_seed(fold(self.seed, "step", state.step))
        batch = self.source.batch(self._indices(state.step), self.device)
        lr = self.lr(state.step)
        logged: dict[str, Tensor] = {}
        for player, optimiser in self.optimisers.items():
            with self.autocast:
                losses = self.model.losses(batch, player=player, step=state.step, steps=state.steps)
            optimiser.zero_grad(set_to_none=True)
            losses["loss"].backward()
            params = self.players[player]
            norm = torch.nn.utils.clip_grad_norm_(params, c.clip) if c.clip else None
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.step()
            prefix = "" if player == next(iter(self.optimisers)) else f"{player}_"
            logged.update({f"{prefix}{name}": value.detach().float() for name, value in losses.items()})
            if norm is not None:
                logged[f"{prefix}grad_norm"] = norm.detach()
        self.model.after_step(step=state.step, steps=state.steps)
        if self.average:
            decay = min(c.ema, (1 + state.step) / (10 + state.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        return logged

    def check(self, row: Mapping[str, float]) -> None:
        """Raise DivergedError on a loss that is not finite or has exploded."""
        loss = row["loss"]
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        where = f"at step {self.state.step} of {self.state.steps}"
        if bad:
            raise DivergedError(f"{bad[0]} is not finite {where} (lr {self.config.lr:g}); a smaller lr may help")
        if self.state.first_loss is None:
            self.state.first_loss = loss
        if loss > self.state.first_loss + 1e3 * (abs(self.state.first_loss) + 1):
            raise DivergedError(
                f"loss went from {self.state.first_loss:.4g} to {loss:.4g} {where} (lr {self.config.lr:g}); "
                "a smaller lr may help"
            )

    def finish(self) -> None:
        """Put the averaged weights in place and switch to eval mode."""
        if self.average and self.state.steps:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.average)
        self.model.eval()

    def _indices(self, step: int) -> np.ndarray:
        """Positions [step * B, (step + 1) * B) of the endless concatenation of shuffled epochs."""
        n, b = len(self.source), self.config.batch_size
        picked = []
        position, end = step * b, (step + 1) * b
        while position < end:
            epoch, offset = divmod(position, n)
            if epoch != self._epoch:
                self._epoch = epoch
                self._order = np.random.default_rng(fold(self.seed, "order", epoch)).permutation(n)
            take = min(n - offset, end - position)
            picked.append(self._order[offset : offset + take])
            position += take
        return np.concatenate(picked)

    def save(self, path: Path, started: float) -> None:
        """Write the checkpoint atomically; `started` is when this process began training."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{i}": value for i, value in enumerate(self.average)}
        for player, optimiser in self.optimisers.items():
            for i, parameter in enumerate(self.players[player]):
                for name, value in optimiser.state.get(parameter, {}).items():
                    tensors[f"optimiser.{player}.{i}.{name}"] = value
        state = vars(self.state) | {"seconds": self.state.seconds + time.monotonic() - started}
        # clone: safetensors refuses tensors that share memory (tied weights)
        plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        with atomic_file(path) as temporary:
            save_file(plain, temporary, metadata={"state": json.dumps(state), "seed": str(self.seed)})

    def load(self, path: Path) -> None:
        """Restore what `save` wrote, tensors keeping the memory layout of the model's own."""
        with safe_open(path, framework="pt") as file:
            self.state = _State(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        self.model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        with torch.no_grad():
            for i, value in enumerate(self.average):
                value.copy_(tensors[f"average.{i}"])
        for player, optimiser in self.optimisers.items():
            for i, parameter in enumerate(self.players[player]):
                prefix = f"optimiser.{player}.{i}."
                for name in [k for k in tensors if k.startswith(prefix)]:
                    value = tensors[name]
                    like = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
                    optimiser.state[parameter][name.removeprefix(prefix)] = like.to(parameter.device).copy_(value)


class _Passes:
    """All batches of a source in order; can be iterated several times."""

    def __init__(self, source: BatchSource, size: int, device: torch.device) -> None:
        self.source, self.size, self.device = source, size, device

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self.source), self.size):
            yield self.source.batch(np.arange(start, min(start + self.size, len(self.source))), self.device)


class _Curve:
    """`curve.jsonl`: rewritten up to the checkpoint when training resumes, then appended to."""

    def __init__(self, path: Path, rows: list[dict[str, float]]) -> None:
        self.path = path
        kept = len(rows)
        lines = path.read_text().splitlines(keepends=True)[:kept] if path.exists() else []
        path.write_text("".join(lines))

    def append(self, row: Mapping[str, float], *, samples_per_second: float) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({**row, "samples_per_second": round(samples_per_second, 1)}) + "\n")
