"""Configurations of the quantisers: bottlenecks that make codes, or quantise within the decoder. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from .. import cost
from ..cost import Cost
from ..geometry import Layout
from ..spec import LatentGrid, LatentSpec
from .config import BottleneckConfig

if TYPE_CHECKING:
    from .base import Bottleneck


@dataclass(frozen=True, kw_only=True)
class VQConfig(BottleneckConfig):
    """The nearest of `codebook_size` learned codes (A5).

    `rule` is how codes follow the features: "loss" by the codebook loss, "ema" by moving averages with `decay`.
    `commitment` weighs the loss that keeps features near their codes. `normalise` puts features and codes on the unit
    sphere (nearest by cosine). `kmeans` Lloyd iterations on the first features start the codebook (0: random
    features). A code is replaced by a feature of the batch when `reset_after` x codebook_size features in a row chose
    others (0: never), until the last fifth of the training.
    """

    kind: ClassVar[str] = "vq"
    version: ClassVar[int] = 1

    codebook_size: int = 256
    rule: Literal["loss", "ema"] = "loss"
    commitment: float = 0.25
    decay: float = 0.95
    normalise: bool = False
    kmeans: int = 10
    reset_after: float = 20.0

    def __post_init__(self) -> None:
        if self.codebook_size < 2:
            raise ValueError("codebook_size must be at least 2")
        if not 0 <= self.decay < 1:
            raise ValueError("decay must lie in [0, 1)")
        if self.commitment < 0 or self.kmeans < 0 or self.reset_after < 0:
            raise ValueError("commitment, kmeans and reset_after must not be negative")

    @property
    def codebooks(self) -> int:
        """How many codebooks there are, each on its share of the channels."""
        return 1

    def default_channels(self) -> int | None:
        return 8 * self.codebooks

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (self.codebook_size,) * self.codebooks

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .vq import VQ

        return VQ(self, channels=spec.grid.channels)

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        entries = self.codebook_size * spec.grid.channels
        # The search reads one entry more per code, its norm.
        searched = entries + self.codebook_size * self.codebooks
        return Cost(parameters=entries, flops=2.0 * spec.positions * searched)


@dataclass(frozen=True, kw_only=True)
class MultiHeadVQConfig(VQConfig):
    """Product quantisation: `heads` codebooks, each on its own share of the channels (A6)."""

    kind: ClassVar[str] = "multi_head_vq"
    version: ClassVar[int] = 1
    tsr_option: ClassVar[str | None] = "heads"

    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1:
            raise ValueError("heads must be at least 1")

    @property
    def codebooks(self) -> int:
        return self.heads

    def validate(self, *, channels: int, features: int, backbone: str) -> None:
        if channels % self.heads:
            down, up = channels - channels % self.heads, channels - channels % self.heads + self.heads
            near = f"{down} or {up}" if down else f"{up}"
            raise ValueError(f"channels {channels} is not divisible by heads {self.heads}; nearest: {near}")


@dataclass(frozen=True, kw_only=True)
class FSQConfig(BottleneckConfig):
    """Each channel rounded to one of `levels[i]` values, no codebook (A8, Mentzer et al. 2023)."""

    kind: ClassVar[str] = "fsq"
    version: ClassVar[int] = 1

    levels: tuple[int, ...] = (8, 6, 5)

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError("levels must be one or more whole numbers >= 2")
        if math.prod(self.levels) > 2**31:
            raise ValueError(f"levels multiply to {math.prod(self.levels)} codes; at most 2^31 fit an index")

    def default_channels(self) -> int | None:
        return len(self.levels)

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (math.prod(self.levels),)

    def validate(self, *, channels: int, features: int, backbone: str) -> None:
        if channels != len(self.levels):
            raise ValueError(
                f"channels {channels} must be {len(self.levels)}, one per entry of levels {[*self.levels]}"
            )

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .fsq import FSQ

        return FSQ(self)


@dataclass(frozen=True, kw_only=True)
class RVQConfig(VQConfig):
    """Residual VQ (A7): `levels` codebooks, each on what those before it left over; any first few of the codes decode.

    In training a batch uses, with probability `dropout`, a random number of the stages (quantiser dropout).
    """

    kind: ClassVar[str] = "rvq"
    version: ClassVar[int] = 2
    tsr_option: ClassVar[str | None] = "levels"

    levels: int = 4
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels < 1:
            raise ValueError("levels must be at least 1")
        if not 0 <= self.dropout <= 1:
            raise ValueError("dropout must lie in [0, 1]")
        if self.normalise:
            raise ValueError("normalise is not for rvq: a residual has no place on the unit sphere")

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (self.codebook_size,) * self.levels

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .rvq import RVQ

        return RVQ(self, channels=spec.grid.channels)

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        stage = super().cost(spec, features)
        return Cost(parameters=self.levels * stage.parameters, flops=self.levels * stage.flops)


@dataclass(frozen=True, kw_only=True)
class VQRegConfig(VQConfig):
    """VQ within the decoder (A11): the latents are the continuous features before quantisation."""

    kind: ClassVar[str] = "vq_reg"
    version: ClassVar[int] = 1

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return ()

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .vq_reg import VQReg

        return VQReg(self, channels=spec.grid.channels)


@dataclass(frozen=True, kw_only=True)
class VQVAE2Config(VQConfig):
    """Two grids of codes (A9): a coarse one of 1/`factor` the size per axis, and the fine one of the backbone.

    An axis that `factor` does not divide keeps its size.
    """

    kind: ClassVar[str] = "vq_vae_2"
    version: ClassVar[int] = 1

    factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 2:
            raise ValueError("factor must be at least 2")
        if self.normalise:
            raise ValueError("normalise is not for vq_vae_2: a residual has no place on the unit sphere")

    def factors(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """By how much the coarse grid is smaller than the fine one's `shape`, per axis."""
        return tuple(1 if size % self.factor else self.factor for size in shape)

    def grids(self, layout: Layout, channels: int) -> tuple[LatentGrid, ...]:
        (fine,) = super().grids(layout, channels)
        coarse = tuple(size // by for size, by in zip(fine.shape, self.factors(fine.shape), strict=True))
        return replace(fine, shape=coarse), fine

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .vq_vae_2 import VQVAE2

        return VQVAE2(self, channels=spec.grid.channels, factors=self.factors(spec.grids[-1].shape))

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        coarse, fine = spec.grids
        total = Cost()
        for grid in spec.grids:
            total += super().cost(replace(spec, grids=(grid,)), features)
        there = cost.conv(coarse.channels, coarse.channels, self.factors(fine.shape), coarse.shape)
        # Up once more in encoding, for what the coarse grid leaves over.
        return total + there + there + Cost(flops=there.flops)


@dataclass(frozen=True, kw_only=True)
class LFQConfig(BottleneckConfig):
    """Each channel's sign is a bit, no codebook (A8, Yu et al. 2023); `heads` codes share the bits.

    `entropy` weighs E[H(q)] - `diversity` x H(E[q]) in nats per bit, where `temperature` softens q; `commitment` keeps
    features near -1 and 1. H(E[q]) takes bits for independent, or with `joint` is that of whole codes (of few bits).
    """

    kind: ClassVar[str] = "lfq"
    version: ClassVar[int] = 1
    identity_defaults: ClassVar[frozenset[str]] = frozenset({"joint"})
    tsr_option: ClassVar[str | None] = "heads"

    heads: int = 1
    entropy: float = 0.1
    diversity: float = 1.0
    temperature: float = 1.0
    commitment: float = 0.05
    joint: bool = False

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError("heads must be at least 1")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if min(self.entropy, self.diversity, self.commitment) < 0:
            raise ValueError("entropy, diversity and commitment must not be negative")

    def default_channels(self) -> int | None:
        return 8 * self.heads

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (2 ** (channels // self.heads),) * self.heads

    def validate(self, *, channels: int, features: int, backbone: str) -> None:
        if channels % self.heads:
            down, up = channels - channels % self.heads, channels - channels % self.heads + self.heads
            near = f"{down} or {up}" if down else f"{up}"
            raise ValueError(f"channels {channels} is not divisible by heads {self.heads}; nearest: {near}")
        if channels // self.heads > _LFQ_BITS:
            raise ValueError(
                f"channels {channels} on heads {self.heads} are codes of {channels // self.heads} bits, at most "
                f"{_LFQ_BITS} are allowed; heads = {_split(channels)} would do"
            )
        if self.joint and channels // self.heads > _JOINT_BITS:
            raise ValueError(
                f"joint counts all codes of a head: at most {_JOINT_BITS} bits, not {channels // self.heads}"
            )

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .lfq import LFQ

        return LFQ(self, channels=spec.grid.channels)


# A prior has a logit for each code of a head: beyond this, bits are split over several heads (as MAGVIT-v2 does).
_LFQ_BITS = 18
# Codes whose shares a step computes: 2^12 cost about what a convolution of 64 channels does.
_JOINT_BITS = 12


def _split(bits: int) -> int:
    """The fewest equal heads of at most `_LFQ_BITS` bits."""
    return next(heads for heads in range(1, bits + 1) if bits % heads == 0 and bits // heads <= _LFQ_BITS)
