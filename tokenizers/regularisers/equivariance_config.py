"""Configuration of equivariance. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..auxiliary.config import TokenizerParts, nothing_to_train
from ..spec import Modality
from .config import RegulariserConfig, several_grids

# Backbones without positions of their own: they run at any size.
_CONVOLUTIONAL = ("conv", "patch", "seanet")

TransformKind = Literal["rotate", "flip", "scale", "shift", "reverse"]
_PICTURES: tuple[TransformKind, ...] = ("rotate", "flip", "scale", "shift")
# By modality: the transforms that it has, and how many of them, from the first on, are taken by default.
_TRANSFORMS: dict[Modality, tuple[tuple[TransformKind, ...], int]] = {
    Modality.IMAGE: (_PICTURES, 3),
    Modality.VIDEO: ((*_PICTURES, "reverse"), 3),
    Modality.WAVEFORM: (("shift", "reverse", "scale"), 1),
    Modality.SPECTROGRAM: (("shift", "reverse", "scale"), 1),
}


@dataclass(frozen=True, kw_only=True)
class EquivarianceConfig(RegulariserConfig):
    """Transformed latents decode to the transformed signal (equivariance, B7).

    After EQ-VAE (Kouzelis et al. 2025, arXiv 2502.09509). A share `probability` of every batch is transformed: half of
    it by "scale" (half the size by averaging), half by one draw of the others: "rotate" (multiples of 90 degrees),
    "flip", "shift" (circular, of codes by whole positions), "reverse" (time). `transforms` are by default those that
    suit the modality and the geometry. `match` "decoder" compares the decoded with the transformed signal by the
    objective. "latent" compares T(E(x)) with E(T(x)): constant latents minimise that, so it needs `guard`, the weight
    of a hinge that keeps every channel's deviation over the batch at 1 or above. A "shift" by a fraction of a latent
    position blends two neighbours ("linear"), or interpolates without aliasing ("fourier"; after Zhou et al. 2025,
    arXiv 2503.09419): `interpolation`.
    """

    kind: ClassVar[str] = "equivariance"
    version: ClassVar[int] = 2
    identity_defaults = frozenset({"interpolation"})
    batch_coupled: ClassVar[str | None] = "it compares some samples of a batch"
    over_ranks: ClassVar[bool] = True
    builds = "equivariance:Equivariance"

    weight: float = 1.0
    probability: float = 0.5
    transforms: tuple[TransformKind, ...] = ()
    match: Literal["decoder", "latent"] = "decoder"
    guard: float = 0.0
    interpolation: Literal["linear", "fourier"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.probability <= 1:
            raise ValueError("probability must lie in (0, 1]")
        if self.guard < 0:
            raise ValueError("guard must not be negative")

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        if reason := several_grids(tokenizer, "the grids of a hierarchy have no transform in common"):
            return reason
        grid = tokenizer.spec.grid
        if grid.topology != "grid":
            return f"a {grid.topology} of latents does not turn with the signal; it needs a grid"
        return self._match_reason(tokenizer) or self._transforms_reason(tokenizer)

    def chosen(self, tokenizer: TokenizerParts) -> tuple[TransformKind, ...]:
        """The transforms in use: those named, or the modality's defaults as far as geometry and backbones allow."""
        known, by_default = _TRANSFORMS[tokenizer.signal.modality]
        return self.transforms or tuple(kind for kind in known[:by_default] if not _obstacle(kind, tokenizer))

    def _match_reason(self, tokenizer: TokenizerParts) -> str | None:
        others = {objective.kind for objective in tokenizer.auxiliary_objectives}
        if self.match == "decoder":
            if tokenizer.diffusion_decoder is not None:
                return "it compares decoded signals, and in training a diffusion decoder makes none"
            if "auxiliary_decoder" in others:
                return "its loss brings the main decoder's gradient to the encoder, which auxiliary_decoder keeps away"
            return None
        if reason := nothing_to_train(tokenizer):
            return f'match = "latent": {reason}'
        if tokenizer.spec.grid.heads:
            return 'match = "latent" needs continuous latents: codes do not move closer by a gradient'
        if not self.guard:
            return 'match = "latent" collapses the latents unless guard is above 0'
        if tokenizer.diffusion_decoder is not None and tokenizer.diffusion_decoder.freeze_start() < 1:
            return 'match = "latent" moves the encoder, which the diffusion decoder freezes in the end'
        if "self_supervised" in others:
            return 'match = "latent" moves the encoder, which self_supervised trains alone and then freezes'
        return None

    def _transforms_reason(self, tokenizer: TokenizerParts) -> str | None:
        modality = tokenizer.signal.modality
        known, _ = _TRANSFORMS[modality]
        if self.interpolation == "fourier" and "shift" not in self.chosen(tokenizer):
            return 'interpolation = "fourier" is of shifts, and transforms has no "shift"'
        if self.interpolation == "fourier" and tokenizer.spec.grid.heads:
            return 'interpolation = "fourier" needs continuous latents: codes shift by whole positions'
        for kind in self.transforms:
            if kind not in known:
                return f"transforms: {kind!r} does not suit {modality}; known: {', '.join(known)}"
            if reason := _obstacle(kind, tokenizer):
                return f"transforms: {kind!r} {reason}"
        return None if self.chosen(tokenizer) else "no transform suits latents of one position along an axis"


def _obstacle(kind: TransformKind, tokenizer: TokenizerParts) -> str | None:
    """Why such a transform is impossible, or None."""
    grid, modality = tokenizer.spec.grid.shape, tokenizer.signal.modality
    if kind == "scale":
        if tokenizer.spec.discrete:
            return "averages latents, and the mean of two codes is not a code"
        for backbone in (tokenizer.backbone, tokenizer.decoding):
            if backbone.kind not in _CONVOLUTIONAL:
                return f"changes the size, and backbone {backbone.kind!r} has one size"
        plane = grid[-2:]
        if any(size % 2 for size in plane):
            return f"halves the latents, and {'x'.join(map(str, plane))} has an odd side"
    if kind == "reverse" and grid[modality.axes.index("time")] == 1:
        return "needs more than one latent position in time"
    if kind == "shift" and grid[-1] == 1:
        return "needs more than one latent position along the last axis"
    return None
