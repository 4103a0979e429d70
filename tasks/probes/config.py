"""What each probe is, without making it: name, version, the versioned parts that it measures with. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ...results.metric import Shown
from ...tokenizers.corruptions.config import CORRUPTIONS
from ...tokenizers.losses.config import LOSSES
from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from ..proxies import proxies


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Part):
    """One group of measurements on a trained tokenizer; `builds` a `Probe`. `shown` is its metrics' in tables.

    One `on_request` is made only where a suite names it. `reports` are its metrics' names as `tasks.metric_names` has
    them, None where it does not say.
    """

    reports: ClassVar[tuple[str, ...] | None] = None

    shown: ClassVar[Shown] = "asked"
    on_request: ClassVar[bool] = False

    def measures_with(self) -> dict[str, int]:
        """Versions of the registered parts whose numbers it gives, beside those that every probe may use."""
        return {}


class NormalSamplesConfig(ProbeConfig):
    """`normal_fd_<net>`: Fréchet distance of decode(z), z ~ N(0, I) of the raw latents, to the validation split."""

    kind = "normal_samples"
    reports = ("normal_fd_<net>",)
    builds = "normal_samples:NormalSamples"


class CorruptedInputConfig(ProbeConfig):
    """`psnr_corrupted`, and inside the masked patches `psnr_inpainted`, `psnr_mean_fill` and `inpainting_gain`."""

    kind = "corrupted_input"
    reports = ("psnr_corrupted", "psnr_inpainted", "psnr_mean_fill", "inpainting_gain")
    builds = "corrupted_input:CorruptedInput"

    def measures_with(self) -> dict[str, int]:
        return {"corruption.mask": CORRUPTIONS.version("mask")}


class LatentNoiseConfig(ProbeConfig):
    """`psnr_noise_10`, `_20`, `_50` (per cent of a deviation) and `noise_slope`, all of decode(z + s σ ε)."""

    kind = "latent_noise"
    reports = ("psnr_noise_<n>", "noise_slope")
    builds = "latent_noise:LatentNoise"


class PermutationConfig(ProbeConfig):
    """`permutation_invariance`: the share of samples whose permuted tokens decode to the same bits."""

    kind = "permutation"
    reports = ("permutation_invariance",)
    builds = "permutation:Permutation"


class EquivarianceProbeConfig(ProbeConfig):
    """`equivariance_error_<change>`, their mean `equivariance_error`, and `psnr_equivariant`; changes are quarter turns
    and circular shifts by one latent position."""

    kind = "equivariance"
    reports = ("equivariance_error_rotation", "equivariance_error_shift", "equivariance_error", "psnr_equivariant")
    builds = "equivariance:EquivarianceProbe"


class LabelProbeConfig(ProbeConfig):
    """`label_accuracy`: of a linear ridge regression from latents to labels; `label_chance`: the commonest class's."""

    kind = "label_probe"
    reports = ("label_accuracy", "label_chance")
    builds = "label_probe:LabelProbe"


class HighFrequencyConfig(ProbeConfig):
    """`high_frequency_ratio`: DCT energy of the reconstructions above half of the largest frequency over the
    signals'; 1 is right, less is blurred."""

    kind = "high_frequency"
    reports = ("high_frequency_ratio",)
    builds = "high_frequency:HighFrequency"

    def measures_with(self) -> dict[str, int]:
        return {"proxy.high_frequency_share": proxies.version("high_frequency_share")}


class LossesConfig(ProbeConfig):
    """`loss_<term>`: the mean over the validation split of each regression term that is defined on these signals."""

    kind = "losses"
    reports = ("loss_<loss>",)
    builds = "losses:Losses"

    def measures_with(self) -> dict[str, int]:
        return {f"loss.{kind}": LOSSES.version(kind) for kind in LOSSES.names()}


class GradientIsolationConfig(ProbeConfig):
    """`encoder_gradient`: ‖d main loss / d encoder‖ over ‖d main loss / d decoder‖, 0 for an encoder that it can't
    reach; `companion_effect`: the largest change of what is decoded once training-only modules are dropped."""

    kind = "gradient_isolation"
    reports = ("encoder_gradient", "companion_effect")
    builds = "gradient_isolation:GradientIsolation"


class LargerSignalsConfig(ProbeConfig):
    """`psnr_larger`: of signals twice as long in every axis, joined from samples; `larger_gain`: over the same samples
    one by one."""

    kind = "larger_signals"
    reports = ("psnr_larger", "larger_gain")
    builds = "larger_signals:LargerSignals"
    on_request = True


class SpectrumDistanceConfig(ProbeConfig):
    """`psd_kl`: how far the latents' power spectrum is from the signals', KL over 16 bands of relative frequency."""

    kind = "spectrum_distance"
    reports = ("psd_kl",)
    builds = "spectrum_distance:SpectrumDistance"
    on_request = True


class PerturbedDistanceConfig(ProbeConfig):
    """`latent_noise_fd_<net>` and its slope over the noise, or for codes `near_codes_fd_<net>`: Fréchet distance to the
    validation split of what latents with a prior's small errors decode to, in the mean over three strengths."""

    kind = "perturbed_distance"
    reports = ("latent_noise_fd_<net>", "latent_noise_fd_slope_<net>", "near_codes_fd_<net>")
    builds = "perturbed_distance:PerturbedDistance"
    on_request = True


class FeatureInformationConfig(ProbeConfig):
    """`feature_information_<net>`: bits of each of a frozen net's features of the signal that a linear map reads from
    the latent, held out."""

    kind = "feature_information"
    reports = ("feature_information_<net>",)
    builds = "feature_information:FeatureInformation"
    on_request = True


class CodeStabilityConfig(ProbeConfig):
    """`code_stability`: the share of a sound's codes that are the same where it begins 2 ms later."""

    kind = "code_stability"
    reports = ("code_stability",)
    builds = "code_stability:CodeStability"
    on_request = True


_PROBES = (
    NormalSamplesConfig,
    CorruptedInputConfig,
    LatentNoiseConfig,
    PermutationConfig,
    EquivarianceProbeConfig,
    LabelProbeConfig,
    HighFrequencyConfig,
    LossesConfig,
    GradientIsolationConfig,
    LargerSignalsConfig,
    PerturbedDistanceConfig,
    SpectrumDistanceConfig,
    FeatureInformationConfig,
    CodeStabilityConfig,
)

probes = Registry(
    "probe", "latentbench.probes", dict[str, Any]((part.kind, part) for part in _PROBES), base=ProbeConfig
)


def default_probes() -> tuple[str, ...]:
    """The probes that are made where a suite names none."""
    return tuple(name for name in probes.names() if not probes.get(name).on_request)
