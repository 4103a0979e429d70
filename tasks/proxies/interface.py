"""What a proxy is and what it reads.

Shape legend: N samples, C channels, H heads, *grid the axes of a latent (1 to 3).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Direction, Metric, Scope, Shown
from ..metrics.jackknife import group_of, interval_of
from .config import ProxyConfig, proxies

# A channel whose deviation is below this share of its own mean, or of nothing at all, does not vary.
_CONSTANT = 1e-6


@dataclass(frozen=True, kw_only=True)
class ProxyInput:
    """A split's latents, as every proxy reads them.

    `values` raw `[N, C, *grid]` float32; `mean` and `std` `[C]` of the training split; for discrete tokenizers `codes`
    `[N, H, *grid]` int64 and `codebook_sizes`; `labels` `[N]` int64 where classes are known.
    """

    values: Tensor
    mean: Tensor
    std: Tensor
    codes: Tensor | None = None
    codebook_sizes: tuple[int, ...] = ()
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        if not 3 <= self.values.ndim <= 5:
            raise UserError(f"latents must be [N, C, *grid] with 1 to 3 axes, got {list(self.values.shape)}")
        channels = self.values.shape[1]
        for name, tensor in (("mean", self.mean), ("std", self.std)):
            if tensor.shape != (channels,):
                raise UserError(f"latents: {name} must be [{channels}], got {list(tensor.shape)}")
        if self.codes is not None and self.codes.shape[1] != len(self.codebook_sizes):
            raise UserError(f"latents: {self.codes.shape[1]} heads of codes, {len(self.codebook_sizes)} codebook sizes")
        for name, optional in (("codes", self.codes), ("labels", self.labels)):
            if optional is not None and len(optional) != len(self.values):
                raise UserError(f"latents: {len(self.values)} samples but {len(optional)} {name}")

    @classmethod
    def of(cls, values: Tensor, **rest: Tensor | tuple[int, ...] | None) -> ProxyInput:
        """Latents with their own mean and deviation, where no training split is at hand."""
        axes = [0, *range(2, values.ndim)]
        double = values.double()
        mean = double.mean(axes)
        std = (double - mean.view(-1, *[1] * (values.ndim - 2))).square().mean(axes).sqrt()
        return cls(values=values, mean=mean, std=std, **rest)  # type: ignore[arg-type]

    @cached_property
    def finite(self) -> Tensor:
        """`[N]` bool: the samples all of whose values are finite. The others count as missing."""
        return torch.isfinite(self.values).flatten(1).all(1)

    @cached_property
    def raw(self) -> Tensor:
        """The finite samples' raw values, `[N', C, *grid]` float32."""
        return self.values.float() if bool(self.finite.all()) else self.values[self.finite].float()

    @property
    def missing(self) -> int:
        """How many samples hold values that are not finite."""
        return len(self.values) - len(self.raw)

    @cached_property
    def varying(self) -> Tensor:
        """`[C]` bool: the channels that vary over the training split."""
        std, mean = self.std.double(), self.mean.double()
        return torch.isfinite(std) & (std > _CONSTANT * mean.abs()) & (std > torch.finfo(torch.float32).tiny)

    @cached_property
    def normalised(self) -> Tensor:
        """The finite samples with constant channels left out, each channel normalised: `[N', C', *grid]` float32."""
        shape = (-1, *[1] * (self.values.ndim - 2))
        varying = self.varying.to(self.raw.device)
        z = self.raw if bool(varying.all()) else self.raw[:, varying]
        mean, std = (t.to(z)[varying].view(shape) for t in (self.mean, self.std))
        return (z - mean) / std


class Proxy(ABC):
    """One group of numbers about latents, as its configuration declares."""

    def __init__(self, config: ProxyConfig) -> None:
        self.config = config

    @abstractmethod
    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        """The group's metrics; value None where the latents are too few or too degenerate, () where they are of
        another kind."""


def compute(name: str, latents: ProxyInput) -> tuple[Metric, ...]:
    """The metrics of the proxy called `name`; none where it does not apply (codes of a continuous latent).

    Raises UserError for an unknown name.
    """
    proxy: Proxy = proxies.get(name)().build()
    return proxy.metrics(latents)


# a value alone, or with its standard error and the half-width of its interval
Value = tuple[float, float | None, float | None] | float | None
NORMALISED = "z normalised per channel by the training split or as published, constant channels left out"


def metric(
    name: str,
    value: Value,
    latents: ProxyInput,
    *,
    direction: Direction,
    protocol: str,
    unit: str = "",
    shown: Shown = "default",
    compared: Scope | None = None,
) -> Metric:
    """A proxy's metric from its value, or (value, standard error, half-width of the interval).

    A value that is not finite, or None, is reported as None with every sample counted as missing.
    """
    number, se, half = value if isinstance(value, tuple) else (value, None, None)
    known = number is not None and math.isfinite(number)
    if not known:
        number = se = half = None
    return Metric(
        name=name,
        value=number,
        se=se,
        interval=interval_of(number, half),
        n=len(latents.raw) if known else 0,
        missing=latents.missing if known else len(latents.values),
        direction=direction,
        unit=unit,
        protocol=protocol,
        role="modelability",
        shown=shown,
        compared=compared,
    )


def sums_by_group(per_sample: Sequence[Tensor] | Tensor, groups: int = 10) -> Tensor:
    """Per-sample sums `[N, ...]` to sums over groups of samples, `[G, ...]` float64, G at most N."""
    stacked = per_sample if isinstance(per_sample, Tensor) else torch.stack(list(per_sample), -1)
    return torch.stack([stacked[part].double().sum(0) for part in group_of(len(stacked), groups)])
