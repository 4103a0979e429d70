"""What each proxy of modelability is, without computing it: name, version, latents it speaks of. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from ...tokenizers.spec import Topology


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(Part):
    """One group of numbers about latents; `builds` a `Proxy`. `topologies` are the latents that it speaks of."""

    topologies: ClassVar[tuple[Topology, ...]] = ("grid", "sequence", "set")

    @classmethod
    def unsupported_reason(cls, topology: Topology) -> str | None:
        """Why it says nothing about latents of this topology, or None when it does."""
        if topology in cls.topologies:
            return None
        what = "a set has no order" if topology == "set" else "neighbours in a sequence need not be near in the signal"
        return f"it compares positions, and {what}"


class MomentsConfig(ProxyConfig):
    """`latent_std`, `latent_outlier`, `latent_skewness`, `latent_kurtosis`, `constant_channels`."""

    kind = "moments"
    version = 2
    builds = "moments:Moments"


class ChannelCorrelationConfig(ProxyConfig):
    """`channel_correlation`."""

    kind = "channel_correlation"
    builds = "channels:ChannelCorrelation"


class EffectiveRankConfig(ProxyConfig):
    """`effective_rank` and `condition_number`."""

    kind = "effective_rank"
    builds = "channels:EffectiveRank"


class HighFrequencyShareConfig(ProxyConfig):
    """`high_frequency_share_25` and `high_frequency_share_50`."""

    kind = "high_frequency_share"
    version = 2
    topologies = ("grid",)
    builds = "spectrum:HighFrequencyShare"


class LocalCorrelationConfig(ProxyConfig):
    """`local_correlation`."""

    kind = "local_correlation"
    version = 2
    topologies = ("grid",)
    builds = "neighbours:LocalCorrelation"


class VivConfig(ProxyConfig):
    """`viv`, of a covariance taken as a product of channels' and positions'."""

    kind = "viv"
    version = 3
    topologies = ("grid", "sequence")
    builds = "viv:Viv"


class VivFullConfig(ProxyConfig):
    """`viv_full`, of the full covariance, and `viv_normalised`: times √(elements), which white latents of one intrinsic
    dimension share at any size."""

    kind = "viv_full"
    topologies = ("grid", "sequence")
    builds = "viv_full:VivFull"


class CodeUseConfig(ProxyConfig):
    """`codebook_use`, `codebook_perplexity`, `code_bits_per_position`, `code_bits_per_sample`; none for continuous
    latents."""

    kind = "codes"
    version = 2
    builds = "codes:Codes"


_PROXIES = (
    MomentsConfig,
    ChannelCorrelationConfig,
    EffectiveRankConfig,
    HighFrequencyShareConfig,
    LocalCorrelationConfig,
    VivConfig,
    VivFullConfig,
    CodeUseConfig,
)

proxies = Registry(
    "proxy", "latentbench.proxies", dict[str, Any]((part.kind, part) for part in _PROXIES), base=ProxyConfig
)
