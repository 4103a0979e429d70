"""Configurations of the bottlenecks: what turns features into latents and says how many bits they hold. No torch."""

from __future__ import annotations

from dataclasses import dataclass
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
        "vq": "tokenizers.bottlenecks.quantiser_config:VQConfig",
        "multi_head_vq": "tokenizers.bottlenecks.quantiser_config:MultiHeadVQConfig",
        "fsq": "tokenizers.bottlenecks.quantiser_config:FSQConfig",
        "rvq": "tokenizers.bottlenecks.quantiser_config:RVQConfig",
        "lfq": "tokenizers.bottlenecks.quantiser_config:LFQConfig",
        "vq_vae_2": "tokenizers.bottlenecks.quantiser_config:VQVAE2Config",
        "vq_reg": "tokenizers.bottlenecks.quantiser_config:VQRegConfig",
    },
)


class BottleneckConfig(Part):
    """What a bottleneck makes of `inputs` channels per position: latents of `channels` channels, and perhaps codes.

    A continuous bottleneck needs only `build`. `projects` is True for one that maps the backbone's features to the
    latents and back by itself; the others get a 1x1 projection on either side. `tsr_option` names the option that
    is the number of codes per position, which a TSR decides; None for one whose number is fixed.
    """

    projects: ClassVar[bool] = False
    tsr_option: ClassVar[str | None] = None

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
