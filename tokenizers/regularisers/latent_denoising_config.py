"""Configuration of latent denoising. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from .config import RegulariserConfig


@dataclass(frozen=True, kw_only=True)
class LatentDenoisingConfig(RegulariserConfig):
    """In training the decoder reads corrupted latents, and has to decode the clean signal (latent denoising, B11).

    After l-DeTok (Yang et al. 2025, arXiv 2507.15856), which hides patches of the signal from its encoder where this
    hides positions of the latents from the decoder. `weight` is the share of the samples that are corrupted. With
    `path` "interpolated" their latents move towards noise of `noise` deviations, by a share that is uniform in [0, 1];
    with "additive" they get noise whose deviation is that of a half-normal variate, `noise` its scale, as for the
    decoder of RAE (Zheng et al. 2025, arXiv 2510.11690). Then a share of the positions, uniform in [-0.1, `mask`] and
    at least 0, is replaced by one learned vector.
    """

    kind: ClassVar[str] = "latent_denoising"
    version: ClassVar[int] = 1
    over_ranks: ClassVar[bool] = True
    builds = "latent_denoising:LatentDenoising"

    path: Literal["interpolated", "additive"] = "interpolated"
    noise: float = 3.0
    mask: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight > 1:
            raise ValueError("weight is the share of the samples that are corrupted: at most 1")
        if self.noise < 0 or not 0 <= self.mask < 1:
            raise ValueError("noise must not be negative, and mask must lie in [0, 1)")
        if not self.noise and not self.mask:
            raise ValueError("noise and mask are both 0: nothing is corrupted")

    def batch_coupling(self) -> str | None:
        return "its noise is scaled by the deviation over the batch" if self.noise else None
