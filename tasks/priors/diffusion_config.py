"""Options of the Gaussian diffusion priors: U-Net and DiffWave-like. Needs no torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...tokenizers import cost
from ...tokenizers.backbones.stages import Stage
from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import ClassConditional, one_fixed_grid
from .patches import check_patch, choose_patch, counts

if TYPE_CHECKING:
    from torch import nn

    from .interface import Prior

TIME_FEATURES = 256


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(ClassConditional):
    """Gaussian diffusion over continuous latents, whatever its network.

    Variance-preserving with a cosine schedule in continuous time, its log signal-to-noise ratio cut to [-10, 10]. The
    network's output is the noise ("epsilon"), the velocity ("v", Salimans & Ho 2022) or the data ("x").
    `weighting` of the squared error by noise level: "uniform" is the plain error of that output; "min_snr" the error
    of x times min(SNR, `snr_clip`) (Hang et al. 2023); "p2" the error of the noise over (1 + SNR)^`p2_gamma` (Choi et
    al. 2022). Sampling takes `steps` equal steps: "ddpm" is ancestral, "ddim", "euler" and "heun" (two evaluations a
    step) solve the probability-flow ODE. `clip` cuts the data expected at each step to so many standard deviations (0:
    not): what "epsilon" needs, whose errors near pure noise are divided by the little signal there is. `patch` is how
    many positions per axis become channels of the network's input (None: powers of two, so that it sees at most
    `max_positions`). `likelihood` adds `nll_ode_bits` to the held-out scores, in `likelihood_steps` Heun steps: with
    one "hutchinson" probe, or "exact" (a backward pass per element). Options of labels are those of
    `ClassConditional`.
    """

    max_rank: ClassVar[int] = 3

    prediction: Literal["epsilon", "v", "x"] = "v"
    weighting: Literal["uniform", "min_snr", "p2"] = "uniform"
    snr_clip: float = 5.0
    p2_gamma: float = 1.0
    sampler: Literal["ddpm", "ddim", "euler", "heun"] = "ddim"
    steps: int = 50
    clip: float = 0.0
    dropout: float = 0.0
    patch: tuple[int, ...] | None = None
    max_positions: int = 4096
    likelihood: Literal["off", "hutchinson", "exact"] = "off"
    likelihood_steps: int = 25
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patch(self.patch, self.max_positions)
        if self.snr_clip <= 0 or self.p2_gamma < 0 or self.clip < 0:
            raise ValueError("snr_clip must be positive, p2_gamma and clip at least 0")
        if self.steps < 1 or self.likelihood_steps < 1:
            raise ValueError("steps and likelihood_steps must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length and of a rank that the network has."""
        if spec.discrete:
            return "it models continuous latents, and these are codes"
        if len(spec.grid.shape) > cls.max_rank and len(spec.grids) == 1:
            return f"it models latents of one axis, and these have {len(spec.grid.shape)}"
        return one_fixed_grid(spec)

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        clip = f", clip {self.clip:g}" if self.clip else ""
        return f"{self.name} v{self.version}, {self.sampler} {self.steps} steps{clip}{self.conditioning}"

    def fits(self, spec: LatentSpec) -> None:
        """Raises UserError when `patch` has another rank than the grid."""
        self.patch_for(spec)

    def patch_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Positions per axis that become channels."""
        return choose_patch(spec.grid.shape, self.patch, self.max_positions, name=self.name)

    def inner_shape(self, spec: LatentSpec) -> tuple[int, ...]:
        """The grid that the network sees."""
        return counts(spec.grid.shape, self.patch_for(spec))

    def inner_channels(self, spec: LatentSpec) -> int:
        """Channels that the network sees."""
        return spec.grid.channels * math.prod(self.patch_for(spec))

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All evaluations of the sampler."""
        return self.forward_flops(spec) * self.steps * self.evaluations * (2 if self.sampler == "heun" else 1)

    @property
    @abstractmethod
    def embedding(self) -> int:
        """Width of the embedding of time and label."""
        raise NotImplementedError

    @abstractmethod
    def build_network(self, spec: LatentSpec) -> nn.Module:
        """The network `(x [B, C, *grid], t [B])` to the shape of x, on the inner grid; imports torch."""
        raise NotImplementedError

    def build(self, spec: LatentSpec) -> Prior:
        """A `DiffusionPrior`."""
        from .diffusion import DiffusionPrior

        return DiffusionPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class UNetConfig(DiffusionConfig):
    """Diffusion with an N-d U-Net over continuous grids of 1 to 3 axes.

    `width` times `multipliers` are the channels per level, each level half the resolution of the one before (axes
    shorter than 4 stay); `blocks` residual blocks per level on the way down and up; `attention_heads` of self-attention
    at the coarsest level (0: none; also none where it has more than 1,024 positions).
    """

    name: ClassVar[str] = "unet"
    version: ClassVar[int] = 1
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 24, "multipliers": [1, 2, 2], "blocks": 1, "attention_heads": 2},
        "s": {"width": 48, "multipliers": [1, 2, 3], "blocks": 2, "attention_heads": 4},
        "m": {"width": 112, "multipliers": [1, 2, 4], "blocks": 2, "attention_heads": 8},
    }

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    attention_heads: int = 4
    groups: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1 or not self.multipliers or min(self.multipliers) < 1 or self.blocks < 1 or self.groups < 1:
            raise ValueError("width, multipliers, blocks and groups must be at least 1")
        if self.attention_heads < 0:
            raise ValueError("attention_heads must be at least 0")
        for factor in self.multipliers if self.attention_heads else ():
            if self.width * factor % self.attention_heads:
                raise ValueError(
                    f"width x multipliers must be multiples of the attention_heads ({self.attention_heads})"
                )

    @property
    def embedding(self) -> int:
        """Four times the width."""
        return 4 * self.width

    def levels(self, spec: LatentSpec) -> tuple[Stage, ...]:
        """Levels from the finest inwards: the stride that leads into each, its width and its grid."""
        shape = self.inner_shape(spec)
        found = [Stage(stride=(1,) * len(shape), width=self.width * self.multipliers[0], shape=shape)]
        for factor in self.multipliers[1:]:
            stride = tuple(2 if size >= 4 else 1 for size in shape)
            if max(stride) == 1:
                break
            shape = counts(shape, stride)
            found.append(Stage(stride=stride, width=self.width * factor, shape=shape))
        return tuple(found)

    def heads_for(self, levels: tuple[Stage, ...]) -> int:
        """Attention heads of the coarsest level, 0 for no attention."""
        return self.attention_heads if math.prod(levels[-1].shape) <= 1024 else 0

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions, attention and time conditioning of one sample."""
        levels, channels = self.levels(spec), self.inner_channels(spec)
        embedding = self.embedding
        kernel = (3,) * len(levels[0].shape)
        total = 2.0 * (TIME_FEATURES * embedding + embedding * embedding)

        def block(inputs: int, stage: Stage) -> float:
            skip = cost.pointwise(inputs, stage.width, stage.shape).flops if inputs != stage.width else 0.0
            convs = cost.conv(inputs, stage.width, kernel, stage.shape) + cost.conv(
                stage.width, stage.width, kernel, stage.shape
            )
            return convs.flops + skip + 2.0 * embedding * 2 * stage.width

        total += cost.conv(channels, levels[0].width, kernel, levels[0].shape).flops
        for index, stage in enumerate(levels):
            total += block(stage.width, stage) * self.blocks
            if index + 1 < len(levels):
                inner = levels[index + 1]
                total += cost.conv(stage.width, inner.width, inner.kernel, inner.shape).flops
                total += cost.conv(inner.width, stage.width * math.prod(inner.stride), kernel, inner.shape).flops
                total += block(2 * stage.width, stage) + block(stage.width, stage) * (self.blocks - 1)
        coarse = levels[-1]
        total += 2 * block(coarse.width, coarse)
        if self.heads_for(levels):
            n, d = math.prod(coarse.shape), coarse.width
            total += 8.0 * n * d * d + 4.0 * n * n * d
        return total + cost.conv(levels[0].width, channels, kernel, levels[0].shape).flops

    def build_network(self, spec: LatentSpec) -> nn.Module:
        """A `UNet`."""
        from .unet import UNet

        levels = self.levels(spec)
        return UNet(
            self.inner_channels(spec),
            levels,
            blocks=self.blocks,
            heads=self.heads_for(levels),
            groups=self.groups,
            dropout=self.dropout,
            embedding=self.embedding,
        )


@dataclass(frozen=True, kw_only=True)
class DiffWaveConfig(DiffusionConfig):
    """Diffusion with a stack of dilated gated convolutions over latents or signals of one axis (Kong et al. 2021).

    `layers` of `width` channels whose dilations double from 1 and start over every `cycle` layers.
    """

    name: ClassVar[str] = "diffwave"
    version: ClassVar[int] = 1
    max_rank: ClassVar[int] = 1
    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "xs": {"width": 48, "layers": 12, "cycle": 6},
        "s": {"width": 96, "layers": 20, "cycle": 10},
        "m": {"width": 256, "layers": 30, "cycle": 10},
    }

    width: int = 64
    layers: int = 12
    cycle: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.layers, self.cycle) < 1:
            raise ValueError("width, layers and cycle must be at least 1")

    @property
    def embedding(self) -> int:
        """Four times the width."""
        return 4 * self.width

    def forward_flops(self, spec: LatentSpec) -> float:
        """Convolutions and time conditioning of one sample."""
        n, c, w = math.prod(self.inner_shape(spec)), self.inner_channels(spec), self.width
        embedding = 2.0 * (TIME_FEATURES * 4 * w + 16 * w * w)
        layer = 2.0 * n * (3 * w * 2 * w + w * 2 * w) + 2.0 * 4 * w * w
        return embedding + 2.0 * n * c * w + self.layers * layer + 2.0 * n * (w * w + w * c)

    def build_network(self, spec: LatentSpec) -> nn.Module:
        """A `DilatedStack` with time conditioning."""
        from .dilated import DilatedDenoiser

        return DilatedDenoiser(
            self.inner_channels(spec), width=self.width, layers=self.layers, cycle=self.cycle, dropout=self.dropout
        )
