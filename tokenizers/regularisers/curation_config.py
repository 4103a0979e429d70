"""Configurations of the regularisers that curate latents: prior in the loop, alignment, equivariance, A17. No torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..spec import Modality
from .config import RegulariserConfig

if TYPE_CHECKING:
    from ..config import TokenizerConfig
    from .base import Regulariser

# Backbones without positions of their own: they run at any size.
_CONVOLUTIONAL = ("conv", "patch")
# Codes that the light prior predicts at once with a softmax; more would cost more than the tokenizer.
_MOST_CODES = 16384

TransformKind = Literal["rotate", "flip", "scale", "shift", "reverse"]
_TRANSFORMS: dict[Modality, tuple[TransformKind, ...]] = {
    Modality.IMAGE: ("rotate", "flip", "scale", "shift"),
    Modality.VIDEO: ("rotate", "flip", "scale", "shift", "reverse"),
    Modality.WAVEFORM: ("shift", "reverse"),
    Modality.SPECTROGRAM: ("shift", "reverse"),
}
_BY_DEFAULT: dict[Modality, tuple[TransformKind, ...]] = {
    Modality.IMAGE: ("rotate", "flip", "scale"),
    Modality.VIDEO: ("rotate", "flip", "scale"),
    Modality.WAVEFORM: ("shift",),
    Modality.SPECTROGRAM: ("shift",),
}


@dataclass(frozen=True, kw_only=True)
class PriorInTheLoopConfig(RegulariserConfig):
    """A light causal prior's negative log-likelihood of the latents, which reaches the encoder (B5).

    After LARP (Wang et al. 2024, arXiv 2410.21264) and CRT (Ramanujan et al. 2024, arXiv 2412.16326). The prior is a
    causal transformer of `layers` blocks of `width` over positions in raster order. `weight` weighs its nats, summed
    over a sample, against the reconstruction error summed over it, as the KL bottleneck's beta does. Continuous latents
    are read at a `resolution`: with noise of so many deviations of each channel, by the prior and by the decoder.
    """

    kind: ClassVar[str] = "prior_in_the_loop"
    version: ClassVar[int] = 1

    weight: float = 0.3
    width: int = 64
    layers: int = 2
    resolution: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 16 or self.width % 16:
            raise ValueError("width must be a multiple of 16")
        if self.layers < 1:
            raise ValueError("layers must be at least 1")
        if not 0 < self.resolution <= 1:
            raise ValueError("resolution must lie in (0, 1]")

    def validate(self, config: TokenizerConfig) -> None:
        _one_grid(config, "a light prior reads one grid of latents")
        grid = config.spec.grid
        if grid.topology == "set":
            raise ValueError("a causal prior needs an order, and a set has none")
        if grid.variable:
            raise ValueError("the light prior has a fixed number of positions, and these latents vary in length")
        if grid.heads and max(grid.codebook_sizes) > _MOST_CODES:
            raise ValueError(f"codebooks of at most {_MOST_CODES} codes, not {max(grid.codebook_sizes)}")

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .prior_in_the_loop import PriorInTheLoop

        return PriorInTheLoop(self, config.spec)


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig(RegulariserConfig):
    """Projected latents predict features of a frozen net (B6): VA-VAE (Yao et al. 2025, arXiv 2501.01423), section 3.

    `target` "handmade" needs no weights: oriented gradients and local energy at three scales of images, frames and
    spectrograms, log-mel energies of waveforms. "alexnet" are the five maps of AlexNet as LPIPS weighs them. The loss
    per position is max(0, 1 - `margin` - cosine); `structure` weighs that of the cosines between positions, which may
    differ by `slack`. The projection is linear, or has one hidden layer of `hidden` units.
    """

    kind: ClassVar[str] = "alignment"
    version: ClassVar[int] = 1

    weight: float = 0.3
    target: Literal["handmade", "alexnet"] = "handmade"
    margin: float = 0.0
    structure: float = 0.0
    slack: float = 0.25
    hidden: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < 1:
            raise ValueError("margin must lie in [0, 1)")
        if self.structure < 0 or self.hidden < 0 or not 0 <= self.slack < 2:
            raise ValueError("structure and hidden must not be negative, and slack must lie in [0, 2)")

    def validate(self, config: TokenizerConfig) -> None:
        _one_grid(config, "features are aligned with one grid of latents")
        if config.spec.grid.variable:
            raise ValueError("latents that vary in length have no fixed place in the signal to align")
        if self.target == "alexnet" and config.signal.modality.is_audio:
            raise ValueError(f'target "alexnet" is for images and frames, not {config.signal.modality}')
        if self.structure and config.spec.grid.topology != "grid":
            raise ValueError("structure compares positions, and only a grid's lie where the signal's do")

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .alignment import Alignment

        return Alignment(self, config.spec)

    def weights(self) -> tuple[str, ...]:
        return ("alexnet_lpips",) if self.target == "alexnet" else ()


@dataclass(frozen=True, kw_only=True)
class EquivarianceConfig(RegulariserConfig):
    """Transformed latents decode to the transformed signal (B7): EQ-VAE (Kouzelis et al. 2025, arXiv 2502.09509).

    A share `probability` of every batch is transformed: half of it by "scale" (half the size by averaging), half by one
    draw of the others: "rotate" (multiples of 90 degrees), "flip", "shift" (circular, of codes by whole positions),
    "reverse" (time). `transforms` are by default those that suit the modality and the geometry. `match` "decoder"
    compares the decoded with the transformed signal by the objective; "latent" compares T(E(x)) with E(T(x)), which a
    constant minimises, and so needs `guard`, the weight of a hinge that keeps every channel's deviation over the batch
    at 1 or above.
    """

    kind: ClassVar[str] = "equivariance"
    version: ClassVar[int] = 1

    weight: float = 1.0
    probability: float = 0.5
    transforms: tuple[TransformKind, ...] = ()
    match: Literal["decoder", "latent"] = "decoder"
    guard: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.probability <= 1:
            raise ValueError("probability must lie in (0, 1]")
        if self.guard < 0:
            raise ValueError("guard must not be negative")

    def validate(self, config: TokenizerConfig) -> None:
        _one_grid(config, "the grids of a hierarchy have no transform in common")
        grid, modality = config.spec.grid, config.signal.modality
        if grid.topology != "grid":
            raise ValueError(f"a {grid.topology} of latents does not turn with the signal; it needs a grid")
        if self.match == "latent":
            if grid.heads:
                raise ValueError('match = "latent" needs continuous latents; codes do not come nearer')
            if not self.guard:
                raise ValueError('match = "latent" collapses the latents unless guard is above 0')
        elif config.diffusion_decoder is not None:
            raise ValueError("it compares decoded signals, and a generative decoder's first half gives none")
        for kind in self.transforms:
            if kind not in _TRANSFORMS[modality]:
                known = ", ".join(_TRANSFORMS[modality])
                raise ValueError(f"transforms: {kind!r} does not suit {modality}; known: {known}")
            if reason := _obstacle(kind, config):
                raise ValueError(f"transforms: {kind!r} {reason}")
        if not self.chosen(config):
            raise ValueError("no transform suits latents of one position along an axis")

    def compatible_with(self, kinds: Collection[str]) -> None:
        if self.match == "decoder" and "auxiliary_decoder" in kinds:
            raise ValueError(
                "its loss brings the main decoder's gradient to the encoder, which auxiliary_decoder keeps away"
            )
        if self.match == "latent" and "self_supervised" in kinds:
            raise ValueError('match = "latent" moves the encoder, which self_supervised trains alone and then freezes')

    def chosen(self, config: TokenizerConfig) -> tuple[TransformKind, ...]:
        """The transforms in use: those given, or those of the modality that the geometry allows."""
        return self.transforms or suitable(config)

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .equivariance import Equivariance

        return Equivariance(self, config)


def suitable(config: TokenizerConfig) -> tuple[TransformKind, ...]:
    """The transforms that a tokenizer's modality, geometry and backbones allow, without those that are asked for by
    name alone ("reverse", and "shift" where there are others)."""
    return tuple(kind for kind in _BY_DEFAULT[config.signal.modality] if not _obstacle(kind, config))


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedConfig(RegulariserConfig):
    """The encoder learns from a self-supervised loss alone, then is frozen; the rest learns to decode it (A17).

    VICReg (Bardes et al. 2021, arXiv 2105.04906) at every position: two views of a sample, with other gains, offsets,
    noise of deviation `noise` and hidden patches (a share `mask`), shall have like embeddings at like places, whose
    `embedding` dimensions vary and do not correlate. It trains the encoder in the first `share` of the steps.
    """

    kind: ClassVar[str] = "self_supervised"
    version: ClassVar[int] = 1

    share: float = 0.5
    embedding: int = 64
    jitter: float = 0.1
    noise: float = 0.1
    mask: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError("share must lie between 0 and 1")
        if self.embedding < 2:
            raise ValueError("embedding must be at least 2")
        if not 0 <= self.jitter < 1 or self.noise < 0 or not 0 <= self.mask < 1:
            raise ValueError("jitter and mask must lie in [0, 1), and noise must not be negative")

    def validate(self, config: TokenizerConfig) -> None:
        if config.backbone.has_shortcut():
            raise ValueError("backbone.shortcut must be false: a PCA of patches is no feature that was learned so")
        if config.bottleneck.kind == "kl":
            raise ValueError("a KL bottleneck's variances would never be learned; take identity or a quantiser")
        if config.spec.grid.variable:
            raise ValueError("two views of a sample would have different numbers of positions")

    def build(self, config: TokenizerConfig) -> Regulariser:
        from .self_supervised import SelfSupervised

        return SelfSupervised(self, config)

    def schedule_milestones(self) -> tuple[float, ...]:
        return (self.share,)


def _one_grid(config: TokenizerConfig, reason: str) -> None:
    if len(config.spec.grids) > 1:
        raise ValueError(f"{reason}, and {config.bottleneck.kind!r} has {len(config.spec.grids)}")


def _obstacle(kind: TransformKind, config: TokenizerConfig) -> str:
    """Why such a transform is impossible, or ""."""
    grid = config.spec.grid.shape
    plane = grid[-2:]
    if kind == "scale":
        if config.spec.discrete:
            return "averages latents, and the mean of two codes is none"
        for backbone in (config.backbone, config.decoding):
            if backbone.kind not in _CONVOLUTIONAL:
                return f"changes the size, and backbone {backbone.kind!r} has one size"
        if any(size % 2 for size in plane):
            return f"halves the latents, and {'x'.join(map(str, plane))} has an odd side"
    if kind == "reverse" and grid[_time_axis(config.signal.modality)] == 1:
        return "needs more than one latent position in time"
    if kind == "shift" and grid[-1] == 1:
        return "needs more than one latent position along the last axis"
    return ""


def _time_axis(modality: Modality) -> int:
    return modality.axes.index("time")
