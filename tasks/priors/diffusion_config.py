"""Options of Gaussian diffusion, whatever its network. Needs no torch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from .config import ClassConditional
from .options import FirstFrameOptions, LikelihoodOptions, PatchOptions

if TYPE_CHECKING:
    from torch import nn

TIME_FEATURES = 256


@dataclass(frozen=True, kw_only=True)
class DiffusionPriorConfig(FirstFrameOptions, PatchOptions, LikelihoodOptions):
    """Gaussian diffusion over continuous latents; a subclass names its `network`, as `builds` names the prior.

    Variance-preserving with a cosine schedule in continuous time, its log signal-to-noise ratio cut to [-10, 10]. The
    network's output is the noise ("epsilon"), the velocity ("v", Salimans & Ho 2022) or the data ("x").
    `weighting` of the squared error by noise level: "uniform" is the plain error of that output; "min_snr" the error
    of x times min(SNR, `snr_clip`) (Hang et al. 2023); "p2" the error of the noise over (1 + SNR)^`p2_gamma` (Choi et
    al. 2022). Sampling takes `steps` equal steps: "ddpm" is ancestral, "ddim", "euler" and "heun" (two evaluations a
    step) solve the probability-flow ODE. `clip` cuts the data expected at each step to so many standard deviations (0:
    not): what "epsilon" needs, whose errors near pure noise are divided by the little signal there is. `patch` is how
    many positions per axis become channels of the network's input (None: powers of two, so that it sees at most
    `max_positions`). `likelihood` adds `nll_ode_bits` to the held-out scores, in `likelihood_steps` Heun steps: with
    one "hutchinson" probe, or "exact" (a backward pass per element). Labels as in `ClassConditional`,
    `condition_frames` in `FirstFrameOptions`.
    """

    builds: ClassVar[str | type] = "diffusion:DiffusionPrior"
    reports = ("diffusion_loss", "nll_ode_bits")
    network: ClassVar[str | type]
    identity_defaults: ClassVar[frozenset[str]] = ClassConditional.identity_defaults | {"condition_frames"}
    sampling_options: ClassVar[frozenset[str]] = frozenset({"clip"})

    prediction: Literal["epsilon", "v", "x"] = "v"
    weighting: Literal["uniform", "min_snr", "p2"] = "uniform"
    snr_clip: float = 5.0
    p2_gamma: float = 1.0
    sampler: Literal["ddpm", "ddim", "euler", "heun"] = "ddim"
    clip: float = 0.0
    dropout: float = 0.0
    max_positions: int = 4096
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.snr_clip <= 0 or self.p2_gamma < 0 or self.clip < 0:
            raise ValueError("snr_clip must be positive, p2_gamma and clip at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")

    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length and of `patch`'s rank."""
        return super().unsupported_reason(spec) or self.frames_reason(spec)

    @property
    def most_patches(self) -> int:
        """`max_positions`."""
        return self.max_positions

    @property
    def sampling_settings(self) -> str:
        """The sampler, its steps and a clip."""
        return super().sampling_settings + (f", clip {self.clip:g}" if self.clip else "")

    @property
    @abstractmethod
    def embedding(self) -> int:
        """Width of the embedding of time and label."""
        raise NotImplementedError

    def build_network(self, spec: LatentSpec) -> nn.Module:
        """The network `(x [B, C, *grid], t [B], condition [B, E] or None)` to the shape of x, C and grid those of the
        patches; imports torch."""
        network: nn.Module = self._resolve("network")(self, spec)
        return network
