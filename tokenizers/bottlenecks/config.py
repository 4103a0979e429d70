"""What configurations of bottlenecks share, and the registry of them. No torch.

A bottleneck turns features into latents, and says how many bits they hold.
"""

from __future__ import annotations

from typing import ClassVar

from ..cost import Cost
from ..geometry import Layout
from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, LatentSpec


class BottleneckConfig(Part):
    """What a bottleneck makes of `inputs` channels per position: latents of `channels` channels, and perhaps codes.

    A continuous bottleneck needs only `builds`, the module that is constructed with the configuration, the latents'
    `LatentSpec` and `features`, the backbone's channels. `projects` is True for one that maps the backbone's features
    to the latents and back by itself; the others get a 1x1 projection on either side. `tsr_option` names the option
    that is the number of codes per position, which a TSR decides; None for one whose number is fixed. `points` are the
    names of its module's operating points, `<n>` for a number.
    """

    projects: ClassVar[bool] = False
    tsr_option: ClassVar[str | None] = None
    points: ClassVar[tuple[str, ...]] = ()

    @property
    def trained(self) -> bool:
        """Whether training may change the latents of a signal; where not, they are settled before the first step."""
        return True

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

    def unsupported_reason(self, *, channels: int, features: int, backbone: str) -> str | None:
        """Why the bottleneck can't have so many channels on this backbone; None where it can."""
        return None

    def cost(self, spec: LatentSpec, features: int) -> Cost:
        """Parameters and forward FLOPs per sample."""
        return Cost()


BOTTLENECKS = Registry(
    "bottleneck",
    "latentbench.bottlenecks",
    {
        "identity": "tokenizers.bottlenecks.identity_config:IdentityConfig",
        "standardise": "tokenizers.bottlenecks.standardise_config:StandardiseConfig",
        "linear": "tokenizers.bottlenecks.linear_config:LinearConfig",
        "kl": "tokenizers.bottlenecks.kl_config:KLConfig",
        "vq": "tokenizers.bottlenecks.vq_config:VQConfig",
        "multi_head_vq": "tokenizers.bottlenecks.vq_config:MultiHeadVQConfig",
        "fsq": "tokenizers.bottlenecks.fsq_config:FSQConfig",
        "rvq": "tokenizers.bottlenecks.rvq_config:RVQConfig",
        "factorised_rvq": "tokenizers.bottlenecks.factorised_rvq_config:FactorisedRVQConfig",
        "lfq": "tokenizers.bottlenecks.lfq_config:LFQConfig",
        "vq_vae_2": "tokenizers.bottlenecks.vq_vae_2_config:VQVAE2Config",
        "soft_vq": "tokenizers.bottlenecks.soft_vq_config:SoftVQConfig",
        "vq_reg": "tokenizers.bottlenecks.vq_reg_config:VQRegConfig",
    },
    base=BottleneckConfig,
)


_MOST_HEADS = 1 << 14


def check_heads(heads: int) -> None:
    """Raises ValueError for a number of heads that no tokenizer could have."""
    if not 1 <= heads <= _MOST_HEADS:
        raise ValueError(f"heads must lie between 1 and {_MOST_HEADS}")


def indivisible(channels: int, heads: int) -> str | None:
    """Why `channels` can't be dealt out evenly to `heads`, with the nearest numbers that can; None where they can."""
    if channels % heads == 0:
        return None
    down, up = channels - channels % heads, channels - channels % heads + heads
    near = f"{down} or {up}" if down else f"{up}"
    return f"channels {channels} is not divisible by heads {heads}; nearest: {near}"
