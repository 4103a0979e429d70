"""What each prior in closed form is, without fitting it: name, version, latents that it fits. Torch-free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ...tokenizers.part import Part
from ...tokenizers.registry import Registry
from ...tokenizers.spec import LatentSpec

# A covariance of more positions takes minutes, and so does a walk over them.
LARGEST = 2048
# Values of a patch: a mixture of full covariances of more takes minutes.
LARGEST_PATCH = 128


@dataclass(frozen=True, kw_only=True)
class ClosedFormConfig(Part):
    """One prior; `builds` a `ClosedForm`, constructed with the configuration and the latents' spec."""

    discrete: ClassVar[bool] = False
    by_position: ClassVar[bool] = True

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """Why it can't be fitted to such latents, or None when it can."""
        if len(spec.grids) > 1 or spec.grid.variable or spec.topology == "set":
            return "it is fitted to one grid or sequence of fixed length"
        if spec.discrete is not cls.discrete:
            return f"it describes {'codes' if cls.discrete else 'values'}, and the latents are the other"
        if cls.by_position and spec.positions > LARGEST:
            return f"it takes at most {LARGEST} positions"
        return None


class IndependentConfig(ClosedFormConfig):
    """Every value on its own, drawn from those that its place has in the training split."""

    kind = "independent"
    by_position = False
    builds = "independent:Independent"


class KroneckerConfig(ClosedFormConfig):
    """A Gaussian whose covariance is a product of channels' and positions'."""

    kind = "kronecker"
    builds = "gaussians:Kronecker"


class GaussianConfig(ClosedFormConfig):
    """A Gaussian of full covariance, shrunk."""

    kind = "gaussian"
    by_position = False
    builds = "gaussians:Gaussian"


class StationaryConfig(ClosedFormConfig):
    """A Gaussian with the training split's power spectrum, and the channels' covariance at every frequency."""

    kind = "stationary"
    builds = "gaussians:Stationary"


class PatchMixtureConfig(ClosedFormConfig):
    """Every patch of two positions along each axis on its own, from a mixture of Gaussians."""

    kind = "patch_mixture"
    by_position = False
    builds = "patch_mixture:PatchMixture"

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """As `ClosedFormConfig` says, and patches of too many values."""
        reason = super().unsupported_reason(spec)
        if (
            reason is None
            and (values := spec.grid.channels * math.prod(min(2, n) for n in spec.grid.shape)) > LARGEST_PATCH
        ):
            return f"a patch has {values} values, and it takes at most {LARGEST_PATCH}"
        return reason


class AutoregressionConfig(ClosedFormConfig):
    """Every position a linear function of its causal neighbours and Gaussian noise, in raster order."""

    kind = "autoregression"
    builds = "autoregression:Autoregression"


class InterpolationConfig(ClosedFormConfig):
    """Half-way between a training latent and one of its ten nearest: the samples of iFID."""

    kind = "interpolation"
    by_position = False
    builds = "interpolation:Interpolation"


class OrderZeroConfig(ClosedFormConfig):
    """Every code on its own, by its head's frequencies."""

    kind = "order_0"
    discrete = True
    by_position = False
    builds = "markov:OrderZero"


class MarkovConfig(ClosedFormConfig):
    """Codes given those before them along every axis, with back-off to fewer (Witten and Bell)."""

    kind = "markov"
    discrete = True
    builds = "markov:Markov"


_CLOSED_FORMS = (
    IndependentConfig,
    KroneckerConfig,
    GaussianConfig,
    StationaryConfig,
    PatchMixtureConfig,
    AutoregressionConfig,
    InterpolationConfig,
    OrderZeroConfig,
    MarkovConfig,
)

closed_forms = Registry(
    "prior in closed form",
    "latentbench.closed_forms",
    dict[str, Any]((part.kind, part) for part in _CLOSED_FORMS),
    base=ClosedFormConfig,
)
