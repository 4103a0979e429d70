"""Gaussian diffusion over continuous latents; the network and the options come from its configuration.

Ho et al. 2020; continuous time and v-prediction from Salimans & Ho 2022; weights of the noise levels as in Kingma & Gao
2023. Latents are normalised, so data and noise have the same variance and inputs need no scaling.

Shape legend: B batch, C channels, *grid the latents' axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.backbones.patch import depth_to_space, space_to_depth
from ...tokenizers.backbones.time import stratified_times
from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from . import schedule
from .diffusion_config import DiffusionPriorConfig
from .fields import Field, field_of, values_of
from .first_frames import FramePrior, after, divided, joined
from .flow import integrate
from .heldout import NLL_ODE_BITS, fixed_times
from .interface import evaluating
from .likelihood import nll_ode_bits
from .noise import normal


class DiffusionPrior(FramePrior):
    """Diffusion over one grid of values `[B, C, *grid]`, rank 1 to 3."""

    held_out_scores = (NLL_ODE_BITS,)
    config: DiffusionPriorConfig

    def __init__(self, config: DiffusionPriorConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.channels, self.shape = spec.grid.channels, spec.grid.shape
        self.net = Patched(config.build_network(spec), config.patch_for(spec), self.shape)
        self.add_labels(config.embedding)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Weighted squared error of what is predicted, at one time per sample, stratified over the batch."""
        first, clean = divided(values_of(batch), self.config.condition_frames)
        t = stratified_times(len(clean), clean.device)
        field = after(first, field_of(self.net, self.vectors(batch)))
        return {"loss": self._errors(field, clean, torch.randn_like(clean), t).mean()}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """ "diffusion_loss" `[B]`: the objective averaged over times, which are fixed by the sample's index.

        Not a likelihood, and not comparable across latents, predictions or weightings. With `likelihood`, also
        "nll_ode_bits" `[B]`: see `likelihood.nll_ode_bits`. Given the label where there is one, and the first frames
        that are given.
        """
        config = self.config
        first, clean = divided(values_of(batch), config.condition_frames)
        with evaluating(self):
            field = after(first, field_of(self.net, self.vectors(batch)))
            errors = [self._errors(field, clean, noise, t) for t, noise in fixed_times(clean, batch.indices)]
            scores = {"diffusion_loss": torch.stack(errors).mean(dim=0)}
            if config.likelihood != "off":
                scores["nll_ode_bits"] = nll_ode_bits(
                    self._slope(self._velocity(field)),
                    clean,
                    batch.indices,
                    steps=config.likelihood_steps,
                    exact=config.likelihood == "exact",
                )
        return scores

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, first: Tensor | None = None) -> Latents:
        """Values `[B, C, *grid]` of the samples `indices`; `first` `[B, C, k, h, w]` where first frames are given."""
        shape, config = (self.channels, *self.shape_after(first, self.shape)), self.config
        field = field_of(self.net, self.drawn_vectors(indices, seed=seed), guidance=config.guidance)
        velocity = self._velocity(after(first, field), clip=config.clip)
        x = normal(seed, indices, shape).to(self.device)
        if config.sampler == "ddim":
            x = schedule.ddim(velocity, x, steps=config.steps)
        elif config.sampler == "ddpm":

            def noise(step: int) -> Tensor:
                return normal(seed, indices, shape, stream=1 + step).to(x)

            x = schedule.ddpm(velocity, x, steps=config.steps, noise=noise)
        else:
            x = integrate(self._slope(velocity), x, steps=config.steps, method=config.sampler)
        return Latents(values=joined(first, x))

    @torch.no_grad()
    def denoise(self, batch: LatentBatch, noise: Tensor, share: float) -> Tensor:
        """The x_0 of the velocity at the time at which sigma / alpha = `share` / (1 - `share`); first frames that are
        given have no noise."""
        first, clean = divided(values_of(batch), self.config.condition_frames)
        t = clean.new_full((len(clean),), schedule.time_of(math.atan2(share, 1 - share)))
        with evaluating(self):
            x = schedule.noised(clean, divided(noise, self.config.condition_frames)[1], t)
            velocity = self._velocity(after(first, field_of(self.net, self.vectors(batch))))
            return joined(first, schedule.clean_and_noise(velocity(x, t), x, t)[0])

    def _velocity(self, field: Field, *, clip: float = 0.0) -> Field:
        """v at x_t; with `clip` of an expected x_0 within plus and minus that."""

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            v = schedule.velocity(field(x, t).float(), x, t, self.config.prediction)
            if not clip:
                return v
            clean, _ = schedule.clean_and_noise(v, x, t)
            return schedule.velocity(clean.clamp(-clip, clip), x, t, "x")

        return velocity

    @staticmethod
    def _slope(velocity: Field) -> Field:
        """dx/dt of the probability-flow ODE."""
        return lambda x, t: schedule.ANGLE_SPAN * velocity(x, t)

    def _errors(self, field: Field, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Weighted squared error, mean per sample: `[B]`."""
        config = self.config
        output = field(schedule.noised(clean, noise, t), t).float()
        target = schedule.target(clean, noise, t, config.prediction)
        weight = schedule.loss_weight(
            t, config.prediction, config.weighting, snr_clip=config.snr_clip, p2_gamma=config.p2_gamma
        )
        return weight * (output - target).square().flatten(1).mean(1)


class Patched(nn.Module):
    """A network on patches: positions become channels on the way in and positions again on the way out."""

    def __init__(self, net: nn.Module, patch: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.net, self.patch, self.shape = net, patch, shape
        self.padding = [
            amount for size, step in zip(reversed(shape), reversed(patch), strict=True) for amount in (0, -size % step)
        ]

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """`[B, C, *grid]` and times `[B]` to the shape of x; zeros beyond the edge."""
        if max(self.patch) == 1:
            return self.net(x, t, condition)
        x = space_to_depth(F.pad(x, self.padding) if any(self.padding) else x, self.patch)
        x = depth_to_space(self.net(x, t, condition), self.patch)
        for axis, size in enumerate(self.shape):
            x = x.narrow(2 + axis, 0, size)
        return x
