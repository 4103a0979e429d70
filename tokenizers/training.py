"""How long and how something is trained: the options of the one training loop (which lives in the harness)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

_MOST = {"steps": 10**9, "batch_size": 10**6}  # beyond them a training never ends, or does not begin


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Budget and optimiser of one training run.

    `steps` optimiser steps of `batch_size` samples; `flops`, when given, replaces `steps` by as many as that many
    floating-point operations (forward and backward, counted) pay for. `steps = 0` runs only `on_train_start` (closed
    forms). AdamW at `lr` with a linear warm-up over `warmup` (a share of the steps) and a cosine decay to `final_lr` x
    lr; gradients clipped to norm `clip` (0: not); weights averaged with decay `ema` (0: not), warmed up as
    min(ema, (1 + t) / (10 + t)). `precision` "auto" is bf16 autocast on a GPU that computes in it, for steps that are
    large enough to gain by it, and float32 elsewhere.

    Both of these save memory and give the same numbers to rounding: `micro_batch` is how many samples of a batch, which
    it must divide, are computed at a time, their gradients added up (None: all); with `checkpointing` what a block
    computes inside is computed again for its gradient (Chen et al. 2016, arXiv 1604.06174), a third more work. And so
    do `devices`, which share each batch evenly, a process on each. `memory_format` is the layout of what convolutions
    of images and clips read, with the same numbers to rounding too: "auto" is on a GPU channels last for bf16 and
    contiguous for float32, and on a CPU what each part has.
    """

    version: ClassVar[int] = 2  # of the training loop: rises when the same options give other numbers
    identity_defaults: ClassVar[frozenset[str]] = frozenset(
        {"micro_batch", "checkpointing", "devices", "memory_format"}
    )

    steps: int = 1000
    flops: float | None = None
    batch_size: int = 32
    lr: float = 3e-4
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: float = 0.05
    final_lr: float = 0.05
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    micro_batch: int | None = None
    checkpointing: bool = False
    devices: int = 1
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"

    def __post_init__(self) -> None:
        for name, low in (("steps", 0), ("batch_size", 1)):
            if not low <= getattr(self, name) <= _MOST[name]:
                raise ValueError(f"{name} must lie between {low} and {_MOST[name]}")
        if self.devices < 1 or self.batch_size % self.devices:
            raise ValueError(f"devices must divide batch_size ({self.batch_size}), got {self.devices}")
        if self.micro_batch is not None and (self.micro_batch < 1 or self.device_batch % self.micro_batch):
            share = f"{self.batch_size}" if self.devices == 1 else f"{self.device_batch} on each device"
            raise ValueError(f"micro_batch must divide batch_size ({share}), got {self.micro_batch}")
        if self.lr <= 0:
            raise ValueError("lr must be positive")
        if self.flops is not None and self.flops <= 0:
            raise ValueError("flops must be positive")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        if min(self.weight_decay, self.clip) < 0:
            raise ValueError("weight_decay and clip must not be negative")
        for name in ("warmup", "final_lr", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]")

    @property
    def device_batch(self) -> int:
        """Samples of a batch on each device."""
        return self.batch_size // self.devices
