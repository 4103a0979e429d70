"""What each proxy of modelability is, without computing it: name, version, latents it speaks of. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from ...tokenizers.spec import Topology


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(Part):
    """One group of numbers about latents; `builds` a `Proxy`. `topologies` are the latents that it speaks of; one that
    is not `by_default` is computed where a suite names it. `reports` are its metrics' names as `tasks.metric_names` has
    them, None where it does not say."""

    reports: ClassVar[tuple[str, ...] | None] = None

    topologies: ClassVar[tuple[Topology, ...]] = ("grid", "sequence", "set")
    by_default: ClassVar[bool] = True

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
    reports = ("latent_std", "latent_outlier", "latent_skewness", "latent_kurtosis", "constant_channels")
    version = 2
    builds = "moments:Moments"


class ChannelCorrelationConfig(ProxyConfig):
    """`channel_correlation`."""

    kind = "channel_correlation"
    reports = ("channel_correlation",)
    builds = "channels:ChannelCorrelation"


class EffectiveRankConfig(ProxyConfig):
    """`effective_rank` and `condition_number`."""

    kind = "effective_rank"
    reports = ("effective_rank", "condition_number")
    builds = "channels:EffectiveRank"


class HighFrequencyShareConfig(ProxyConfig):
    """`high_frequency_share_25` and `high_frequency_share_50`."""

    kind = "high_frequency_share"
    reports = ("high_frequency_share_<n>",)
    version = 2
    topologies = ("grid",)
    builds = "spectrum:HighFrequencyShare"


class LocalCorrelationConfig(ProxyConfig):
    """`local_correlation`."""

    kind = "local_correlation"
    reports = ("local_correlation",)
    version = 2
    topologies = ("grid",)
    builds = "neighbours:LocalCorrelation"


class VivConfig(ProxyConfig):
    """`viv`, of a covariance taken as a product of channels' and positions'."""

    kind = "viv"
    reports = ("viv",)
    version = 3
    topologies = ("grid", "sequence")
    builds = "viv:Viv"


class VivFullConfig(ProxyConfig):
    """`viv_full`, of the full covariance, and `viv_normalised`: times √(elements), which white latents of one intrinsic
    dimension share at any size."""

    kind = "viv_full"
    reports = ("viv_full", "viv_normalised")
    topologies = ("grid", "sequence")
    builds = "viv_full:VivFull"


class CodeUseConfig(ProxyConfig):
    """`codebook_use`, `codebook_perplexity`, `code_bits_per_position`, `code_bits_per_sample`; none for continuous
    latents."""

    kind = "codes"
    reports = ("codebook_use", "codebook_perplexity", "code_bits_per_position", "code_bits_per_sample")
    version = 2
    builds = "codes:Codes"


class SpectralShapeConfig(ProxyConfig):
    """`spectrum_slope` and `spectral_flatness`."""

    kind = "spectral_shape"
    reports = ("spectrum_slope", "spectral_flatness")
    topologies = ("grid",)
    by_default = False
    builds = "spectral_shape:SpectralShape"


class SelfSimilarityConfig(ProxyConfig):
    """`self_similarity`: how much more alike near positions are than far ones."""

    kind = "self_similarity"
    reports = ("self_similarity",)
    topologies = ("grid",)
    by_default = False
    builds = "self_similarity:SelfSimilarity"


class CorrelationDecayConfig(ProxyConfig):
    """`correlation_decay`: how fast positions become unlike with their distance."""

    kind = "correlation_decay"
    reports = ("correlation_decay",)
    topologies = ("grid",)
    by_default = False
    builds = "correlation_decay:CorrelationDecay"


class PredictabilityConfig(ProxyConfig):
    """`causal_information`: what the causal neighbours of a position tell of it, by a linear fit."""

    kind = "predictability"
    reports = ("causal_information",)
    topologies = ("grid", "sequence")
    by_default = False
    builds = "predictability:Predictability"


class IntrinsicDimensionConfig(ProxyConfig):
    """`intrinsic_dimension`, by the two nearest neighbours (TwoNN)."""

    kind = "intrinsic_dimension"
    reports = ("intrinsic_dimension",)
    by_default = False
    builds = "intrinsic_dimension:IntrinsicDimension"


class LabelConsistencyConfig(ProxyConfig):
    """`label_consistency_10`: the nearest neighbours' share of a latent's class; none without labels."""

    kind = "label_consistency"
    reports = ("label_consistency_<n>",)
    by_default = False
    builds = "label_consistency:LabelConsistency"


class UniformityConfig(ProxyConfig):
    """`density_variation` and `density_gini`: how evenly latents fill their largest plane."""

    kind = "uniformity"
    reports = ("density_variation", "density_gini")
    by_default = False
    builds = "uniformity:Uniformity"


class MixtureLikelihoodConfig(ProxyConfig):
    """`mixture_nll`: held-out likelihood of the vectors at single positions under a mixture of Gaussians."""

    kind = "mixture_likelihood"
    reports = ("mixture_nll",)
    by_default = False
    builds = "mixture:MixtureLikelihood"


class CodeEntropiesConfig(ProxyConfig):
    """`code_entropy_order_1` to `_3` and `code_mutual_information`; none for continuous latents."""

    kind = "code_entropies"
    reports = ("code_entropy_order_<n>", "code_mutual_information")
    topologies = ("grid", "sequence")
    by_default = False
    builds = "code_entropies:CodeEntropies"


class CodeCompressionConfig(ProxyConfig):
    """`code_zlib_bits`, `code_back_off_bits` and `code_unique_length`; none for continuous latents."""

    kind = "code_compression"
    reports = ("code_zlib_bits", "code_back_off_bits", "code_unique_length")
    version = 2
    topologies = ("grid", "sequence")
    by_default = False
    builds = "code_compression:CodeCompression"


class NonlinearPredictabilityConfig(ProxyConfig):
    """`causal_information_mlp`: what the causal neighbours of a position tell of it, by a small network."""

    kind = "nonlinear_predictability"
    reports = ("causal_information_mlp",)
    topologies = ("grid", "sequence")
    by_default = False
    builds = "nonlinear_predictability:NonlinearPredictability"


class LabelInformationConfig(ProxyConfig):
    """`label_information`: bits of a label that a linear softmax reads from a latent; none without labels."""

    kind = "label_information"
    reports = ("label_information",)
    by_default = False
    builds = "label_information:LabelInformation"


class CodeMixingConfig(ProxyConfig):
    """`code_mixing_bits`: codes by context-tree weighting; none for continuous latents."""

    kind = "code_mixing"
    reports = ("code_mixing_bits",)
    topologies = ("grid", "sequence")
    by_default = False
    builds = "code_mixing:CodeMixing"


class CodeBPEConfig(ProxyConfig):
    """`code_bpe_bits`, `code_bpe_entropy` and `code_bpe_symbols`: codes by byte pair encoding; none for continuous
    latents."""

    kind = "code_bpe"
    reports = ("code_bpe_bits", "code_bpe_entropy", "code_bpe_symbols")
    topologies = ("grid", "sequence")
    by_default = False
    builds = "code_bpe:CodeBPE"


class CodeRangeConfig(ProxyConfig):
    """`code_range_bits`: codes by the range coder of tokenizers of byte streams; none for continuous latents."""

    kind = "code_range"
    reports = ("code_range_bits",)
    by_default = False
    builds = "code_range:CodeRange"


_PROXIES = (
    MomentsConfig,
    ChannelCorrelationConfig,
    EffectiveRankConfig,
    HighFrequencyShareConfig,
    LocalCorrelationConfig,
    VivConfig,
    VivFullConfig,
    CodeUseConfig,
    SpectralShapeConfig,
    SelfSimilarityConfig,
    PredictabilityConfig,
    IntrinsicDimensionConfig,
    LabelConsistencyConfig,
    UniformityConfig,
    MixtureLikelihoodConfig,
    CodeEntropiesConfig,
    CodeCompressionConfig,
    NonlinearPredictabilityConfig,
    LabelInformationConfig,
    CodeMixingConfig,
    CorrelationDecayConfig,
    CodeBPEConfig,
    CodeRangeConfig,
)

proxies = Registry(
    "proxy", "latentbench.proxies", dict[str, Any]((part.kind, part) for part in _PROXIES), base=ProxyConfig
)
