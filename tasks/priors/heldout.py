"""Held-out scores: what each is, and the times and noise of objectives, which are fixed by each sample's index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import generator, normal

TIMES = 8
_SEED = 0x1A7E47
_NOISE_STREAM, _TIME_STREAM = 0, 1


@dataclass(frozen=True, kw_only=True)
class HeldOutScore:
    """What a prior's held-out score is (lower is better), for the record: by default, its own objective.

    An `exact` code length is also reported per element of the source signal.
    """

    name: str
    unit: str = ""
    protocol: str = "the prior's own objective; comparable on equal latents alone"
    exact: bool = False


_DENSITY = "density of the normalised latents, per sample; may be negative; comparable on equal latents alone"
NLL_BITS = HeldOutScore(name="nll_bits", unit="bit", protocol="exact, per sample", exact=True)
NLL_DENSITY_BITS = HeldOutScore(name="nll_density_bits", unit="bit", protocol=f"exact {_DENSITY}")
NLL_ODE_BITS = HeldOutScore(name="nll_ode_bits", unit="bit", protocol=f"{_DENSITY}; by integrating the ODE")


def indices_of(values: Tensor, indices: Tensor | None) -> list[int]:
    """The samples' numbers, from 0 where the batch does not say."""
    return list(range(len(values))) if indices is None else [int(i) for i in indices.tolist()]


def fixed_times(values: Tensor, indices: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Times `[B]` and noise shaped like `values`, one in each of eight equal parts of [0, 1] per sample."""
    numbers = indices_of(values, indices)
    noise = normal(_SEED, numbers, (TIMES, *values.shape[1:]), stream=_NOISE_STREAM)
    inside = [generator(_SEED, i, _TIME_STREAM).random(TIMES) for i in numbers]
    for k in range(TIMES):
        t = torch.tensor([(k + row[k]) / TIMES for row in inside], dtype=torch.float32)
        yield t.to(values.device), noise[:, k].to(values)
