"""The density that a flow or a diffusion's probability-flow ODE gives held-out latents.

log p(x_0) = log N(x_1; 0, I) + the integral of div v(x_t, t) over t from 0 to 1 along dx/dt = v (Chen et al. 2018, eq.
8; for diffusion Song et al. 2021, section 4.3). The divergence is exact, or estimated with one fixed probe of random
signs per sample (Hutchinson; Grathwohl et al. 2019), which is unbiased in log p.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .heldout import indices_of
from .noise import generator

_SEED = 0x0DE


def nll_ode_bits(
    slope: Callable[[Tensor, Tensor], Tensor],
    values: Tensor,
    indices: Tensor | None,
    *,
    steps: int,
    exact: bool,
) -> Tensor:
    """-log2 density `[B]` (float64) of normalised latents `values` under the ODE with `slope(x, t)`, in Heun steps.

    A density: negative where latents are concentrated, and in the units of the normalised latents. Costs two forward
    and two backward passes a step, times the elements of a sample when `exact`.
    """
    # scores are measured in inference mode, and a divergence needs gradients
    with torch.inference_mode(False), torch.enable_grad():
        x = values.detach().clone()
        probe = None if exact else _signs(x, indices)
        integral = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for k in range(steps):
            v, divergence = _slope_and_divergence(slope, x, k / steps, probe)
            next_v, next_divergence = _slope_and_divergence(slope, x + v / steps, (k + 1) / steps, probe)
            x = x + (v + next_v) / (2 * steps)
            integral += (divergence + next_divergence) / (2 * steps)
        flat = x.double().flatten(1)
        log_noise = -0.5 * (flat.square() + math.log(2 * math.pi)).sum(1)
        return -(log_noise + integral) / math.log(2)


def _slope_and_divergence(
    slope: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: float, probe: Tensor | None
) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    v = slope(x, torch.full((len(x),), t, device=x.device, dtype=x.dtype))
    if probe is not None:
        (gradient,) = torch.autograd.grad((v * probe).sum(), x)
        return v.detach(), (gradient * probe).double().flatten(1).sum(1)
    flat = v.flatten(1)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for element in range(flat.shape[1]):
        (gradient,) = torch.autograd.grad(flat[:, element].sum(), x, retain_graph=element + 1 < flat.shape[1])
        total += gradient.flatten(1)[:, element]
    return v.detach(), total


def _signs(like: Tensor, indices: Tensor | None) -> Tensor:
    shape = tuple(like.shape[1:])
    rows = [generator(_SEED, i).integers(0, 2, shape) for i in indices_of(like, indices)]
    return torch.stack([torch.from_numpy(row) for row in rows]).to(like) * 2 - 1
