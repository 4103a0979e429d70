"""A resolution cascade of two flows: no learned latents, the signal at low resolution takes their place.

Ho et al. 2022 (cascaded diffusion), with rectified flows: p(low) by a flow, p(full | low) by a flow that sees the
upsampled low resolution beside its noisy input. In training the low resolution is mixed with noise, so that the
upsampler tolerates the errors of the first flow (noise-conditioning augmentation).

Shape legend: B batch, C channels, D width, *grid the latents' axes, *low the low resolution's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ...tokenizers.backbones.time import logit_normal_times, time_features
from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .cascade_config import CascadeConfig
from .conditioning import LabelledPrior
from .fields import Field, field_of, values_of
from .flow import DiT, integrate, interpolate
from .flow_config import TIME_FEATURES
from .heldout import TIMES, fixed_times, indices_of
from .interface import evaluating
from .noise import normal

_AUGMENT_SEED = 0xCA5CADE
_BATCHES = 32  # enough to know a variance


class CascadePrior(LabelledPrior):
    """Two flows over one grid of values `[B, C, *grid]`, rank 1 to 3."""

    config: CascadeConfig
    spread: Tensor

    def __init__(self, config: CascadeConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.channels, self.shape = spec.grid.channels, spec.grid.shape
        low, base = config.low(spec), config.base()
        self.factors, self.low_shape = config.factors(spec), low.grid.shape
        sizes: dict[str, Any] = {"width": config.width, "layers": config.layers, "heads": config.attention_heads}
        self.base = DiT(self.channels, self.low_shape, base.patch_for(low), **sizes, dropout=config.dropout)
        self.upper = Upsampler(
            DiT(
                self.channels,
                self.shape,
                config.patch_for(spec),
                **sizes,
                dropout=config.dropout,
                context_channels=self.channels,
            ),
            config.width,
        )
        self.add_labels(config.width)
        # averages vary less than the values they average: scaled to unit variance for the base flow
        self.register_buffer("spread", torch.ones(self.channels))

    def on_train_start(self, batches: Iterable[LatentBatch]) -> None:
        """Measure how much the low resolution varies, and count the training labels."""
        total, squares, count = torch.zeros(self.channels).double(), torch.zeros(self.channels).double(), 0
        for batch in islice(batches, _BATCHES):
            low = averaged(values_of(batch), self.factors).double().transpose(0, 1).flatten(1).cpu()
            total, squares, count = total + low.sum(1), squares + low.square().sum(1), count + low.shape[1]
        variance = squares / max(count, 1) - (total / max(count, 1)) ** 2
        self.spread.copy_(variance.clamp_min(1e-6).sqrt())
        super().on_train_start(batches)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """The sum of both networks' squared velocity errors, each at one time per sample."""
        clean = values_of(batch)
        low = self._low(clean)
        n, device, config = len(clean), clean.device, self.config
        times = [logit_normal_times(n, config.time_mean, config.time_std, device) for _ in range(2)]
        level = torch.rand(n, device=device) * config.augment
        base = _errors(field_of(self.base, self.vectors(batch)), low, torch.randn_like(low), times[0]).mean()
        noisy_low, _ = interpolate(low, torch.randn_like(low), level)
        upper = self._upper(noisy_low, level, self.vectors(batch))
        full = _errors(upper, clean, torch.randn_like(clean), times[1]).mean()
        return {"loss": base + full, "base_loss": base.detach(), "upper_loss": full.detach()}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """ "flow_loss" `[B]` of the upsampler given the true low resolution, and "base_flow_loss" `[B]`.

        At fixed times and noise; neither is a likelihood nor comparable across latents.
        """
        clean = values_of(batch)
        low = self._low(clean)
        noise = normal(_AUGMENT_SEED, indices_of(clean, batch.indices), tuple(low.shape[1:])).to(low)
        level = torch.full((len(clean),), self.config.augment_at, device=clean.device)
        full, base = clean.new_zeros(len(clean)), clean.new_zeros(len(clean))
        with evaluating(self):
            upper = self._upper(interpolate(low, noise, level)[0], level, self.vectors(batch))
            for t, added in fixed_times(clean, batch.indices):
                full += _errors(upper, clean, added, t)
            lower = field_of(self.base, self.vectors(batch))
            for t, added in fixed_times(low, batch.indices):
                base += _errors(lower, low, added, t)
        return {"flow_loss": full / TIMES, "base_flow_loss": base / TIMES}

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int) -> Latents:
        """Values `[B, C, *grid]` of the samples `indices`."""
        config = self.config
        options = {"steps": config.steps, "method": config.sampler}
        low_noise = normal(seed, indices, (self.channels, *self.low_shape), stream=1).to(self.device)
        vectors = self.drawn_vectors(indices, seed=seed)
        low = integrate(field_of(self.base, vectors, guidance=config.guidance), low_noise, **options)  # type: ignore[arg-type]
        added = normal(seed, indices, tuple(low.shape[1:]), stream=2).to(self.device)
        level = torch.full((len(low),), config.augment_at, device=low.device)
        upper = self._upper(interpolate(low, added, level)[0], level, vectors, guidance=config.guidance)
        noise = normal(seed, indices, (self.channels, *self.shape)).to(self.device)
        return Latents(values=integrate(upper, noise, **options))  # type: ignore[arg-type]

    def _low(self, clean: Tensor) -> Tensor:
        """The low resolution `[B, C, *low]` at unit variance."""
        return averaged(clean, self.factors) / self.spread.view(1, -1, *([1] * len(self.factors)))

    def _upper(self, low: Tensor, level: Tensor, vectors: Tensor | None, *, guidance: float = 1.0) -> Field:
        """The upsampler's velocity given the noisy low resolution; guided in sampling as the base is."""
        context = repeated(low, self.factors)

        def net(x: Tensor, t: Tensor, vector: Tensor | None = None) -> Tensor:
            times = len(x) // len(context)  # 2 where guidance makes both predictions in one batch
            return self.upper(x, t, _tiled(context, times), _tiled(level, times), vector)

        return field_of(net, vectors, guidance=guidance)


class Upsampler(nn.Module):
    """A DiT that also sees a low resolution and how much noise is in it."""

    def __init__(self, net: DiT, width: int) -> None:
        super().__init__()
        self.net = net
        self.level = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, t: Tensor, context: Tensor, level: Tensor, vector: Tensor | None) -> Tensor:
        """Noisy `[B, C, *grid]`, times `[B]`, the low resolution `[B, C, *grid]` and its noise level `[B]`."""
        condition = self.level(time_features(level, TIME_FEATURES))
        return self.net(torch.cat((x, context), dim=1), t, condition if vector is None else condition + vector)


def averaged(x: Tensor, factors: tuple[int, ...]) -> Tensor:
    """`[B, C, *(n_i * f_i)]` to the means `[B, C, *n]` over blocks of `factors`."""
    split = [part for size, f in zip(x.shape[2:], factors, strict=True) for part in (size // f, f)]
    return x.reshape(*x.shape[:2], *split).mean(dim=tuple(range(3, 3 + 2 * len(factors), 2)))


def repeated(x: Tensor, factors: tuple[int, ...]) -> Tensor:
    """`[B, C, *n]` to `[B, C, *(n_i * f_i)]`, every value repeated over its block."""
    for axis, factor in enumerate(factors):
        x = x.repeat_interleave(factor, dim=2 + axis)
    return x


def _tiled(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else x.repeat(times, *([1] * (x.dim() - 1)))


def _errors(field: Field, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Squared velocity error, mean per sample: `[B]`."""
    x, target = interpolate(clean, noise, t)
    return (field(x, t).float() - target).square().flatten(1).mean(1)
