"""Configuration of the diffusion decoder and of its distillation. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from .. import cost
from ..backbones.stages import Stage
from ..cost import Cost
from ..spec import SignalSpec
from .config import DiffusionDecoderConfig

TIME_FEATURES = 64
# The moving average of the weights includes the untrained student. A later start leaves it too few steps to forget.
_LATEST_DISTILLATION = 0.7


@dataclass(frozen=True, kw_only=True)
class FlowDecoderConfig(DiffusionDecoderConfig):
    """A rectified flow from noise around the condition to the signal (diffusion decoders, B9).

    It can be distilled to few steps (few-step decoders, B10).

    The network is a U-Net on patches of `patch` positions per axis (2, on a waveform 4; fewer where that does not
    divide an axis). Level i has `width` x `multipliers[i]` channels and `blocks` residual blocks on the way down and on
    the way up; each level is smaller than the one above by `stride` (2, on a waveform 4). Sampling takes `steps`
    evaluations by "euler", or twice as many by "heun".

    `weight` weighs its loss, which is on the scale of `l2`. Training times are uniform, or sigmoids of normal variates
    of mean `time_mean` and deviation `time_std`, which favours intermediate times (Esser et al. 2024, arXiv 2403.03206,
    section 3.1). The noise's deviation is `noise_std` times that of the residual, signal minus condition.

    From the share `distill_start` of the training on (0: never) a second network, the student, learns to reach in
    `student_steps` steps, and in a half, a quarter, ... of them, what the flow reaches in `teacher_steps`. The trained
    tokenizer decodes with the student, in `student_steps`.

    From the share `seek_start` on (0: never) encoder and bottleneck are frozen, and a sample of `seek_steps` steps,
    with the gradient through all of them, is compared with the signal, weighted by `seek_weight`: mode-seeking
    post-training (B18; FlowMo, Sargent et al. 2025, arXiv 2503.11056).
    """

    kind: ClassVar[str] = "diffusion"
    version: ClassVar[int] = 2
    identity_defaults = frozenset({"seek_start", "seek_steps", "seek_weight"})
    batch_coupled: ClassVar[str | None] = "its residual is scaled by the deviation over the batch"
    over_ranks: ClassVar[bool] = True
    builds = "diffusion:FlowDecoder"
    points: ClassVar[tuple[str, ...]] = ("steps_<n>",)

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    groups: int = 8
    patch: int | None = None
    stride: int | None = None
    steps: int = 8
    solver: Literal["euler", "heun"] = "euler"
    weight: float = 1.0
    times: Literal["uniform", "logit_normal"] = "logit_normal"
    time_mean: float = 0.0
    time_std: float = 1.0
    noise_std: float = 1.0
    distill_start: float = 0.0
    student_steps: int = 2
    teacher_steps: int = 8
    seek_start: float = 0.0
    seek_steps: int = 4
    seek_weight: float = 0.1

    def __post_init__(self) -> None:
        for name in ("width", "blocks", "groups", "patch", "steps", "student_steps", "teacher_steps", "seek_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.stride is not None and self.stride < 2:
            raise ValueError("stride must be at least 2")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError("multipliers must be one or more whole numbers >= 1")
        for name in ("weight", "time_std", "noise_std", "seek_weight"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if not 0 <= self.distill_start <= _LATEST_DISTILLATION:
            raise ValueError(f"distill_start must lie in [0, {_LATEST_DISTILLATION}]")
        if not 0 <= self.seek_start < 1:
            raise ValueError("seek_start must lie in [0, 1)")
        if self.seek_start and self.distill_start:
            raise ValueError("seek_start and distill_start are both above 0: one decoder can't be trained both ways")
        if self.student_steps & (self.student_steps - 1):
            raise ValueError("student_steps must be a power of two")
        if self.teacher_steps % self.student_steps:
            raise ValueError(f"teacher_steps must be a multiple of student_steps, {self.student_steps}")

    @property
    def embedding(self) -> int:
        """Width of the time's embedding."""
        return 4 * self.width

    def rank_coupling(self) -> str | None:
        return "in distillation each number of steps takes a part of the batch" if self.distilled else None

    @property
    def distilled(self) -> bool:
        """Whether a few-step student decodes."""
        return self.distill_start > 0

    @property
    def evaluations(self) -> int:
        """Evaluations of the network that decoding takes."""
        if self.distilled:
            return self.student_steps
        return self.steps * (2 if self.solver == "heun" else 1)

    def levels(self, signal: SignalSpec) -> tuple[Stage, ...]:
        """Patch, widths and grids from the signal down; ends where a level could not be coarser than the last."""
        waveform = signal.modality.rank == 1
        limit = self.patch or (4 if waveform else 2)
        stride = self.stride or (4 if waveform else 2)
        levels: list[Stage] = []
        shape = signal.shape
        for multiplier in self.multipliers:
            factors = tuple(max(f for f in range(1, limit + 1) if size % f == 0) for size in shape)
            if levels and max(factors) == 1:
                break
            shape = tuple(size // factor for size, factor in zip(shape, factors, strict=True))
            levels.append(Stage(stride=factors, width=self.width * multiplier, shape=shape))
            limit = stride
        return tuple(levels)

    def cost(self, signal: SignalSpec) -> Cost:
        """That of the network that decodes; after distillation the flow is dropped."""
        once = self._network_cost(signal)
        return Cost(parameters=once.parameters, flops=self.evaluations * once.flops)

    def freeze_start(self) -> float:
        return self.seek_start or 1.0

    def schedule_milestones(self) -> tuple[float, ...]:
        return tuple(share for share in (self.distill_start, self.seek_start) if share)

    def _network_cost(self, signal: SignalSpec) -> Cost:
        levels = self.levels(signal)
        kernel, embedding = (3,) * len(signal.shape), self.embedding
        elements = signal.channels * math.prod(levels[0].stride)
        total = cost.conv(2 * elements, levels[0].width, kernel, levels[0].shape)
        total += cost.pointwise(TIME_FEATURES, embedding, (1,)) + cost.pointwise(embedding, embedding, (1,))
        if self.distilled:
            total += cost.pointwise(TIME_FEATURES, embedding, (1,))
        for level in (*levels, *levels[:-1]):
            half = cost.norm(level.width) + cost.conv(level.width, level.width, kernel, level.shape)
            block = half + half + cost.pointwise(embedding, 2 * level.width, (1,))
            for _ in range(self.blocks):
                total += block
        for outer, inner in pairwise(levels):
            total += cost.conv(outer.width, inner.width, inner.kernel, inner.shape)
            total += cost.conv(inner.width, outer.width * math.prod(inner.stride), kernel, inner.shape)
        return total + cost.norm(levels[0].width) + cost.conv(levels[0].width, elements, kernel, levels[0].shape)
