"""What configurations of scrambles share, and the registry of them. No torch.

A scramble changes the latents behind the encoder and is undone before the decoder, so that a tokenizer reconstructs as
it did while a prior has other latents to learn: a control for proxies of modelability.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, LatentSpec


@dataclass(frozen=True, kw_only=True)
class ScrambleConfig(Part):
    """A change of the latents that can be undone, drawn once from `seed`, which is not the cell's.

    Its target is constructed with the configuration and the `LatentSpec` of the tokenizer, and is a `Scramble`.
    """

    seed: int = 0

    def unsupported_reason(self, inner: LatentSpec) -> str | None:
        """Why latents like these can't be scrambled so; None where they can."""
        if any(grid.topology == "set" for grid in inner.grids):
            return f"{self.kind} would change the order by which a set is sorted"
        return None

    def grid(self, inner: LatentGrid) -> LatentGrid:
        """A scrambled grid: by default of the same shape."""
        return inner

    def spec(self, inner: LatentSpec) -> LatentSpec:
        """Shape and rate of the scrambled latents."""
        return LatentSpec(signal=inner.signal, grids=tuple(self.grid(grid) for grid in inner.grids))


def continuous_reason(kind: str, inner: LatentSpec) -> str | None:
    """Why a scramble that computes with values has none to compute with, or None."""
    return f"{kind} changes values, and a prior of these latents sees codes" if inner.discrete else None


def variable_reason(kind: str, inner: LatentSpec) -> str | None:
    """Why a scramble of positions finds other ones in every sample, or None."""
    if any(grid.variable for grid in inner.grids):
        return f"{kind} needs as many positions in every sample, and these sequences vary in length"
    return None


SCRAMBLES = Registry(
    "scramble",
    "latentbench.scrambles",
    {
        "channel_mix": "tokenizers.scrambles.mix_config:ChannelMixConfig",
        "codes": "tokenizers.scrambles.codes_config:CodesConfig",
        "noise_channels": "tokenizers.scrambles.noise_channels_config:NoiseChannelsConfig",
        "position_mix": "tokenizers.scrambles.mix_config:PositionMixConfig",
        "positions": "tokenizers.scrambles.positions_config:PositionsConfig",
        "signs": "tokenizers.scrambles.signs_config:SignsConfig",
    },
    base=ScrambleConfig,
)
