"""Configurations of the bottlenecks: what turns features into latents and says how many bits they hold. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from .. import cost
from ..cost import Cost
from ..geometry import Layout
from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, LatentSpec

if TYPE_CHECKING:
    from .base import Bottleneck

BOTTLENECKS = Registry(
    "bottleneck",
    "latentbench.bottlenecks",
    {
        "identity": "tokenizers.bottlenecks.config:IdentityConfig",
        "linear": "tokenizers.bottlenecks.config:LinearConfig",
        "kl": "tokenizers.bottlenecks.config:KLConfig",
        "vq": "tokenizers.bottlenecks.config:VQConfig",
        "multi_head_vq": "tokenizers.bottlenecks.config:MultiHeadVQConfig",
        "fsq": "tokenizers.bottlenecks.config:FSQConfig",
        "rvq": "tokenizers.bottlenecks.config:RVQConfig",
        "lfq": "tokenizers.bottlenecks.config:LFQConfig",
        "vq_vae_2": "tokenizers.bottlenecks.config:VQVAE2Config",
        "vq_reg": "tokenizers.bottlenecks.config:VQRegConfig",
    },
)


class BottleneckConfig(Part):
    """What a bottleneck makes of `inputs` channels per position: latents of `channels` channels, and perhaps codes.

    A continuous bottleneck needs only `build`. `projects` is True for one that maps the backbone's features to the
    latents and back by itself; the others get a 1x1 projection on either side. `solves` names the option that is the
    number of codes per position, which a TSR decides; None for one whose number is fixed.
    """

    projects: ClassVar[bool] = False
    solves: ClassVar[str | None] = None

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        """The module for latents of this spec; `features` are the backbone's channels."""
        raise NotImplementedError

    def default_channels(self) -> int | None:
        """Latent channels where neither the recipe nor the user says; None when one of them must."""
        return None

    def inputs(self, channels: int, features: int) -> int:
        """Channels that it reads per position."""
        return features if self.projects else channels

    def outputs(self, channels: int, features: int) -> int:
        """Channels that it hands to the decoder per position."""
        return features if self.projects else channels

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        """Codes per head and position; empty for continuous latents."""
        return ()

    def grids(self, layout: Layout, channels: int) -> tuple[LatentGrid, ...]:
        """The latents' grids: one in the backbone's layout; a hierarchy overrides this."""
        return (
            LatentGrid(
                shape=layout.shape,
                channels=channels,
                codebook_sizes=self.codebook_sizes(channels),
                topology=layout.topology,
                variable=layout.variable,
            ),
        )

    def validate(self, *, channels: int, features: int, backbone: str) -> None:
        """Raises ValueError with the reason when the bottleneck can't have so many channels on this backbone."""

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        """Parameters and forward FLOPs per sample."""
        return Cost()


@dataclass(frozen=True, kw_only=True)
class IdentityConfig(BottleneckConfig):
    """The plain autoencoder's bottleneck: fewer elements, nothing else (A1)."""

    kind: ClassVar[str] = "identity"
    version: ClassVar[int] = 1

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .identity import Identity

        return Identity()


@dataclass(frozen=True, kw_only=True)
class LinearConfig(BottleneckConfig):
    """Two affine maps between features and latents (A2); `solve` says whether PCA gives them or training."""

    kind: ClassVar[str] = "linear"
    version: ClassVar[int] = 1
    projects: ClassVar[bool] = True

    solve: Literal["closed-form", "trained"] = "trained"

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .linear import Linear

        return Linear(self, features=features, channels=spec.grid.channels)

    def validate(self, *, channels: int, features: int, backbone: str) -> None:
        if channels > features:
            raise ValueError(f"a linear bottleneck keeps at most the backbone's {features} features, not {channels}")
        if self.solve == "closed-form" and backbone != "patch":
            raise ValueError(f'solve = "closed-form" needs backbone "patch": PCA of {backbone!r} is no autoencoder')

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        there = cost.pointwise(features, spec.grid.channels, spec.grid.shape)
        return there + cost.pointwise(spec.grid.channels, features, spec.grid.shape)


@dataclass(frozen=True, kw_only=True)
class KLConfig(BottleneckConfig):
    """A diagonal Gaussian posterior, its KL to N(0, I) weighted by `beta` (A3).

    `beta` weighs the KL summed over a sample against the reconstruction error summed over it. The log-variance starts
    near `initial_logvar`: a posterior that starts as wide as the prior spends a short training on narrowing.
    """

    kind: ClassVar[str] = "kl"
    version: ClassVar[int] = 1

    beta: float = 1e-6
    initial_logvar: float = -6.0

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError("beta must not be negative")

    def inputs(self, channels: int, features: int) -> int:
        return 2 * channels

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .kl import KL

        return KL(self, elements=spec.signal.elements)


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
    solves: ClassVar[str | None] = "heads"

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
    version: ClassVar[int] = 1
    solves: ClassVar[str | None] = "levels"

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
    features near -1 and 1.
    """

    kind: ClassVar[str] = "lfq"
    version: ClassVar[int] = 1
    solves: ClassVar[str | None] = "heads"

    heads: int = 1
    entropy: float = 0.1
    diversity: float = 1.0
    temperature: float = 1.0
    commitment: float = 0.05

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

    def build(self, spec: LatentSpec, *, features: int) -> Bottleneck:
        from .lfq import LFQ

        return LFQ(self, channels=spec.grid.channels)


# A prior has a logit for each code of a head: beyond this, bits are split over several heads (as MAGVIT-v2 does).
_LFQ_BITS = 18


def _split(bits: int) -> int:
    """The fewest equal heads of at most `_LFQ_BITS` bits."""
    return next(heads for heads in range(1, bits + 1) if bits % heads == 0 and bits // heads <= _LFQ_BITS)
