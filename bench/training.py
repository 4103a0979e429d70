"""The one training loop: tokenizers, priors and feature encoders all pass through `train`.

Everything random in a step draws from torch's global generator, which is seeded anew for every step from (seed, step);
the order of the data is a function of (seed, epoch). A checkpoint therefore needs the step number alone to restore the
random state and the data position, and an interrupted run continues to the same bits as an undisturbed one.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..tasks.interface import BatchSource, FitReport
from ..tokenizers import memory_format, ranks
from ..tokenizers.interface import Trainable
from ..tokenizers.micro_batch import MicroBatch, divided
from ..tokenizers.recompute import recomputing
from ..tokenizers.seeding import derive_seed
from ..tokenizers.training import TrainingConfig
from . import flops
from .step_batches import Passes, StepBatches
from .training_log import TrainingLog
from .training_state import TrainingState
from .worker_protocol import CHECKPOINT

WHOLE = Fraction(1)  # of a training: all of it

# The training's length when FLOPs are counted: every milestone falls on a step of its own.
_PROBED_STEPS = 1_000_000


class DivergedError(RuntimeError):
    """The loss became non-finite or left its starting level by orders of magnitude."""


class InterruptedTrainingError(RuntimeError):
    """Training was asked to stop; its checkpoint is written and the same call continues from it."""


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
    divide: int = 1,
    until: Fraction = WHOLE,
) -> FitReport:
    """Train `model` on `source`, or go on from `folder`'s checkpoint; leaves it in eval mode with averaged weights.

    Writes `checkpoint.safetensors` (model, average, optimiser, position) every `checkpoint_seconds` and when `stop()`
    turns true, and `curve.jsonl` (loss terms, gradient norm, learning rate, samples per second). A checkpoint that is
    damaged or of another training counts as none. `divide` has a batch computed in about that many parts more than
    `config` says, where `model` allows it (see `training_state.micro_batch`). With `until` below 1 it stops after that
    share of the steps, rounded up, and leaves the checkpoint from which another call goes on, to the same bits as if it
    had never stopped: the schedule is that of the whole training. Raises DivergedError, InterruptedTrainingError, and
    UserError when the folder can't be written.

    With `config.devices` above 1 each of so many processes of one group (see `rank_processes`) calls this alike. Rank 0
    alone writes, tells and ends the training; `folder` is the same for all.
    """
    if len(source) == 0:
        raise ValueError("training needs at least one sample")
    started = time.monotonic()
    model.to(device)
    loop = _Loop(model, source, config, seed=seed, device=device, divide=divide)
    checkpoint = folder / CHECKPOINT
    if not loop.resume_all(checkpoint):
        loop.start()
        if loop.state.steps and not ranks.number():
            loop.save(checkpoint, started)
    model.train()
    last = math.ceil(until * loop.state.steps)
    if ranks.number():
        loop.follow(last)
        return loop.report(time.monotonic() - started)
    state = loop.state
    curve = TrainingLog(folder, state.rows)
    saved_at = logged_at = time.monotonic()
    logged_step = state.step
    while state.step < last:
        loop.step()
        now = time.monotonic()
        if loop.is_logged():
            row = loop.log()
            now = time.monotonic()  # reading the losses has waited for the device
            rate = (state.step - logged_step) * config.batch_size / max(now - logged_at, 1e-9)
            curve.append(row, samples_per_second=rate)
            progress(state.step, last, f"loss {row['loss']:.4g}")
            logged_step, logged_at = state.step, now
        asked = stop()
        if asked or (now - saved_at >= checkpoint_seconds and state.step < last):
            loop.save(checkpoint, started)
            saved_at = time.monotonic()
        if asked:
            raise InterruptedTrainingError(f"stopped at step {state.step} of {state.steps}")
    if until < WHOLE:
        loop.save(checkpoint, started)
    loop.finish()
    return loop.report(time.monotonic() - started)


class _Loop(TrainingState):
    """A training on its way: its state and the steps that change it."""

    def __init__(
        self,
        model: Trainable,
        source: BatchSource,
        config: TrainingConfig,
        *,
        seed: int,
        device: torch.device,
        divide: int = 1,
    ) -> None:
        super().__init__(model, config, seed=seed, device=device, divide=divide)
        self.source = source
        self.batches = StepBatches(source, config.batch_size, seed=seed, device=device)

    def _draw_from(self, *words: str | int) -> None:
        """Seed what is drawn from here on. On a CPU its generator alone: torch's call for all takes 30 times as long
        where CUDA is installed and not in use."""
        seed = derive_seed(self.seed, *words)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def start(self) -> None:
        """What comes before the first step of a training that does not go on from a checkpoint."""
        self._draw_from("prepare")
        if ranks.number() == 0:
            with ranks.alone(), torch.no_grad():
                self.model.on_train_start(Passes(self.source, self.config.batch_size, self.device))
        self._agree()
        with ranks.alone():
            self._plan_steps()

    def _agree(self) -> None:
        """Give all ranks rank 0's state: on a GPU, sums in another order make them drift apart by rounding."""
        ranks.broadcast_(self.model.state_dict().values())

    def follow(self, last: int) -> None:
        """The steps of a training that rank 0 leads, up to the `last`."""
        while self.state.step < last:
            self.step()

    def _plan_steps(self) -> None:
        """Count the FLOPs of one step and turn a FLOP budget into steps."""
        if not self.param_groups or (self.config.steps == 0 and self.config.flops is None):
            return  # a closed form: `on_train_start` has done it all
        self.average = [p.detach().clone() for p in self.parameters] if self.config.ema else []
        self.state.flops_per_step = self._count_flops()
        self.choose_precision()
        self.state.steps = self.planned_steps(self.state.flops_per_step)

    def _count_flops(self) -> float:
        """The mean over the training: each stage is counted at its first step and weighed by its share."""
        starts = self.model.schedule_milestones()
        shares = [end - start for start, end in pairwise((*starts, 1.0))]
        return sum(share * self._count_flops_at(start) for start, share in zip(starts, shares, strict=True))

    def _count_flops_at(self, stage: float) -> float:
        """Those of one micro-batch, times their number; what is computed a second time doesn't count."""
        probe = copy.deepcopy(self.model)
        self._draw_from("flops")
        batch = self.batches.first(self.micro_batch)
        step = math.ceil(stage * _PROBED_STEPS)
        again: list[FlopCounterMode] = []

        def second() -> FlopCounterMode:
            again.append(flops.counter())
            return again[-1]

        with flops.counter() as counter, recomputing(self.config.checkpointing, context=second):
            for group in self.param_groups:
                with self.autocast:
                    losses = probe.losses(batch, group=group, step=step, steps=_PROBED_STEPS)
                if "loss" in losses:
                    losses["loss"].backward()
        counted = counter.get_total_flops() - sum(item.get_total_flops() for item in again)
        return float(counted) * (self.config.batch_size // self.micro_batch)

    def lr(self, step: int) -> float:
        """Linear warm-up, then cosine decay to `final_lr` x lr."""
        c, steps = self.config, self.state.steps
        warmup = math.ceil(c.warmup * steps)
        if step < warmup:
            return c.lr * (step + 1) / warmup
        share = (step - warmup) / max(1, steps - warmup)
        return c.lr * (c.final_lr + (1 - c.final_lr) * 0.5 * (1 + math.cos(math.pi * share)))

    def step(self) -> None:
        """One step of every parameter group; the losses are summed on the device (nothing here waits for it)."""
        c, state = self.config, self.state
        self._draw_from("step", state.step)
        batch = self.batches.at(state.step, state.steps)
        lr = self.lr(state.step)
        logged: dict[str, Tensor] = {}
        for group, optimiser in self.optimisers.items():
            optimiser.zero_grad(set_to_none=True)
            losses = self._gradients(batch, group)
            if "loss" not in losses:
                continue
            params = self.param_groups[group]
            losses = self._averaged(params, losses)
            norm = torch.nn.utils.clip_grad_norm_(params, c.clip) if c.clip else None
            for options in optimiser.param_groups:
                options["lr"] = lr
            optimiser.step()
            prefix = "" if group == next(iter(self.optimisers)) else f"{group}_"
            logged.update({f"{prefix}{name}": value for name, value in losses.items()})
            if norm is not None:
                logged[f"{prefix}grad_norm"] = norm.detach()
        self.model.after_step(step=state.step, steps=state.steps)
        if self.average:
            decay = min(c.ema, (1 + state.step) / (10 + state.step))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.parameters, 1 - decay)
        for name, value in logged.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            state.summed[name] = state.summed.get(name, 0) + 1
        state.step += 1
        if self.is_logged():
            self._agree()

    def is_logged(self) -> bool:
        """Whether a row of the curve ends with the last step."""
        state = self.state
        return state.step % max(1, state.steps // 50) == 0 or state.step == state.steps

    def _gradients(self, batch: Any, group: str) -> dict[str, Tensor]:
        """The losses of `group`, detached, and their gradients in its parameters: a micro-batch at a time.

        With several ranks, those of the own samples: numbers are drawn for all, and these have their rows of them.
        """
        parts = divided(batch, self.micro_batch)
        before, total = ranks.number() * len(parts), ranks.count() * len(parts)
        if total == 1:
            return self._gradients_of(batch, group, 1)
        devices = [self.device] if self.device.type == "cuda" else []
        means: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with (
                nullcontext() if last else torch.random.fork_rng(devices=devices),
                MicroBatch(before + number, total, self.micro_batch),
            ):
                losses = self._gradients_of(part, group, len(parts))
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value / len(parts)
        return means

    def _averaged(self, params: list[nn.Parameter], losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses' means over the ranks; their gradients in `params` become means too."""
        if ranks.count() == 1:
            return losses
        values = torch.stack(list(losses.values()))
        ranks.average_([*(p.grad for p in params if p.grad is not None), values])
        return dict(zip(losses, values.unbind(), strict=True))

    def _gradients_of(self, batch: Any, group: str, parts: int) -> dict[str, Tensor]:
        with recomputing(self.config.checkpointing):
            with self.autocast:
                losses = self.model.losses(batch, group=group, step=self.state.step, steps=self.state.steps)
            if "loss" in losses:
                (losses["loss"] if parts == 1 else losses["loss"] / parts).backward()
        return {name: value.detach().float() for name, value in losses.items()}

    def log(self) -> dict[str, float]:
        """The means since the last call, as the curve's next row. Raises DivergedError."""
        state = self.state
        means = {name: float(total) / state.summed[name] for name, total in self.sums.items()}
        self._check(means)
        self.sums, state.summed = {}, {}
        state.rows.append({"step": state.step, "lr": self.lr(state.step - 1), **means})
        return state.rows[-1]

    def _check(self, row: Mapping[str, float]) -> None:
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
        """Put the averaged weights in place, switch to eval mode and drop what only training needs."""
        if self.average and self.state.steps:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.average)
        self.model.eval()
        self._draw_from("conclude")
        with ranks.alone(), torch.no_grad():
            self.model.on_train_end(Passes(self.source, self.config.batch_size, self.device))
        self.model.drop_training_modules()

    def report(self, seconds: float) -> FitReport:
        """What the training was, of which the last `seconds` were this process's."""
        state = self.state
        return FitReport(
            steps=state.step,
            samples=state.step * self.config.batch_size,
            flops=state.step * state.flops_per_step,
            losses={k: v for k, v in (state.rows[-1] if state.rows else {}).items() if k not in ("step", "lr")},
            curve=tuple(state.rows),
            seconds=state.seconds + seconds,
            memory_format=memory_format.format_of(self.model),
        )
