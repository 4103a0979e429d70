"""Rectified flow with a diffusion transformer (DiT) over continuous latents.

The path is x_t = (1 - t) x_0 + t eps: data at t = 0, standard normal noise at t = 1 (Liu et al. 2022; the convention
of Esser et al. 2024). The network predicts the velocity dx/dt = eps - x_0; sampling integrates it from t = 1 to 0.
Training times are logit-normal, t = sigmoid(m + s n) (Esser et al. 2024, section 3.1), stratified over the batch.

Shape legend: B batch, C channels, *grid the latents' axes, N tokens, P patch elements, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.backbones.attention import modulate
from ...tokenizers.backbones.time import logit_normal_times, time_features
from ...tokenizers.interface import Latents
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .fields import Field, field_of, values_of
from .first_frames import FramePrior, after, divided, joined
from .flow_config import TIME_FEATURES, FlowConfig
from .heldout import NLL_ODE_BITS, TIMES, fixed_times
from .interface import evaluating
from .likelihood import nll_ode_bits
from .noise import normal
from .patches import counts
from .transformer import Transformer, sincos


class FlowPrior(FramePrior):
    """Flow matching over one grid of values `[B, C, *grid]`, rank 1 to 3."""

    held_out_scores = (NLL_ODE_BITS,)
    ordered: ClassVar[bool] = True
    config: FlowConfig

    def __init__(self, config: FlowConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.channels, self.shape = spec.grid.channels, spec.grid.shape
        self.net = DiT(
            self.channels,
            self.shape,
            config.patch_for(spec),
            width=config.width,
            layers=config.layers,
            heads=config.attention_heads,
            dropout=config.dropout,
            ordered=self.ordered,
            frame=config.positions_per_frame(config.patches_for(spec)),
        )
        self.add_labels(config.width)

    def losses(self, batch: LatentBatch, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """Mean squared error of the velocity, at one time per sample."""
        first, clean = divided(values_of(batch), self.config.condition_frames)
        t = logit_normal_times(len(clean), self.config.time_mean, self.config.time_std, clean.device)
        field = after(first, field_of(self.net, self.vectors(batch)))
        return {"loss": self._errors(field, clean, torch.randn_like(clean), t).mean()}

    @torch.no_grad()
    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        """ "flow_loss" `[B]`: mean squared velocity error per element, averaged over uniform times.

        Each sample is seen at one time in each of eight equal strata of [0, 1]; times and noise are fixed by the
        sample's index. Not a likelihood, and not comparable across latents. With `likelihood`, also "nll_ode_bits"
        `[B]`: see `likelihood.nll_ode_bits`. Given the label where there is one, and the first frames that are given.
        """
        config = self.config
        first, clean = divided(values_of(batch), config.condition_frames)
        total = clean.new_zeros(len(clean))
        with evaluating(self):
            field = after(first, field_of(self.net, self.vectors(batch)))
            for t, noise in fixed_times(clean, batch.indices):
                total += self._errors(field, clean, noise, t)
            scores = {"flow_loss": total / TIMES}
            if config.likelihood != "off":
                scores["nll_ode_bits"] = nll_ode_bits(
                    field, clean, batch.indices, steps=config.likelihood_steps, exact=config.likelihood == "exact"
                )
        return scores

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, first: Tensor | None = None) -> Latents:
        """Values `[B, C, *grid]` of the samples `indices`; `first` `[B, C, k, h, w]` where first frames are given."""
        shape = self.shape_after(first, self.shape)
        noise = normal(seed, indices, (self.channels, *shape)).to(self.device)
        field = field_of(self.net, self.drawn_vectors(indices, seed=seed), guidance=self.config.guidance)
        rest = integrate(after(first, field), noise, steps=self.config.steps, method=self.config.sampler)
        return Latents(values=joined(first, rest))

    @torch.no_grad()
    def denoise(self, batch: LatentBatch, noise: Tensor, share: float) -> Tensor:
        """x_t - t v(x_t, t) at t = `share`; first frames that are given have no noise."""
        first, clean = divided(values_of(batch), self.config.condition_frames)
        t = clean.new_full((len(clean),), share)
        with evaluating(self):
            x, _ = interpolate(clean, divided(noise, self.config.condition_frames)[1], t)
            return joined(first, x - share * after(first, field_of(self.net, self.vectors(batch)))(x, t).float())

    def _errors(self, field: Field, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Squared velocity error, mean per sample: `[B]`."""
        x, target = interpolate(clean, noise, t)
        return (field(x, t).float() - target).square().flatten(1).mean(1)


class DiT(nn.Module):
    """Velocity of noisy latents: patches, sine-cosine positions, adaLN-zero blocks (Peebles & Xie 2023).

    Without positions (not `ordered`) it is equivariant to permutations of the patches. `frame` as in `Transformer`.
    """

    def __init__(
        self,
        channels: int,
        shape: tuple[int, ...],
        patch: tuple[int, ...],
        *,
        width: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        context_channels: int = 0,
        ordered: bool = True,
        frame: int | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.patch = shape, patch
        elements = channels * math.prod(patch)
        self.embed = nn.Linear(elements + context_channels * math.prod(patch), width)
        position = sincos(counts(shape, patch), width) if ordered else torch.zeros(1, width)
        self.register_buffer("position", position, persistent=False)
        self.time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.trunk = Transformer(width, layers, heads, causal=False, dropout=dropout, condition=width, frame=frame)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, elements)
        for layer in (self.modulation, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor, vector: Tensor | None = None) -> Tensor:
        """Noisy latents `[B, C, *grid]` and times `[B]` to the velocity, shaped like x.

        `vector` `[B, D]` conditions beside the time. With `context_channels`, x has those after the latents' own.
        """
        condition = self.time(time_features(t, TIME_FEATURES))
        if vector is not None:
            condition = condition + vector
        tokens = self.embed(patchify(x, self.patch)) + self.position
        tokens = self.trunk(tokens, condition=condition)
        shift, scale = self.modulation(condition).unsqueeze(1).chunk(2, dim=-1)
        return unpatchify(self.out(modulate(self.norm(tokens), shift, scale)), self.patch, self.shape)


def patchify(x: Tensor, patch: tuple[int, ...]) -> Tensor:
    """`[B, C, *grid]` to tokens `[B, N, C * prod(patch)]` in raster order; zeros beyond the edge."""
    shape = x.shape[2:]
    over = [-size % step for size, step in zip(shape, patch, strict=True)]
    if any(over):
        x = F.pad(x, [amount for extra in reversed(over) for amount in (0, extra)])
    rank = len(patch)
    tokens = counts(x.shape[2:], patch)
    split = x.reshape(*x.shape[:2], *(n for pair in zip(tokens, patch, strict=True) for n in pair))
    order = (0, *range(2, 2 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2))
    return split.permute(order).reshape(x.shape[0], math.prod(tokens), -1)


def unpatchify(tokens: Tensor, patch: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """The inverse of `patchify` for a grid of `shape`."""
    rank = len(patch)
    tiles = counts(shape, patch)
    x = tokens.reshape(tokens.shape[0], *tiles, -1, *patch)
    order = (0, 1 + rank, *(axis for i in range(rank) for axis in (1 + i, 2 + rank + i)))
    full = [count * step for count, step in zip(tiles, patch, strict=True)]
    x = x.permute(order).reshape(tokens.shape[0], -1, *full)
    for axis, size in enumerate(shape):
        x = x.narrow(2 + axis, 0, size)
    return x


def interpolate(clean: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """x_t = (1 - t) clean + t noise and its velocity noise - clean; t is `[B]`."""
    t = t.view(-1, *([1] * (clean.dim() - 1)))
    velocity = noise - clean
    return torch.addcmul(clean, t, velocity), velocity


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, *, steps: int, method: str) -> Tensor:
    """Solve dx/dt = velocity(x, t) from t = 1 (noise x) to t = 0 in equal steps by "euler" or "heun"."""
    times = [1 - k / steps for k in range(steps)] + [0.0]
    for t, following in pairwise(times):
        slope = velocity(x, torch.full((len(x),), t, device=x.device))
        step = following - t
        if method == "heun":
            slope = (slope + velocity(x + step * slope, torch.full((len(x),), following, device=x.device))) / 2
        x = x + step * slope
    return x
