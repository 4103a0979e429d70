"""The cosine schedule of variance-preserving diffusion in continuous time, and what follows from it.

x_t = alpha x_0 + sigma eps with (alpha, sigma) = (cos phi, sin phi) and an angle phi that is linear in t (Nichol &
Dhariwal 2021 in the continuous form of Hoogeboom et al. 2023). With v = alpha eps - sigma x_0 (Salimans & Ho 2022,
section 4) the probability-flow ODE is dx/dphi = v, so v is a velocity as in flow matching.

Shape legend: B batch; times `[B]`, everything else `[B, ...]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

LOGSNR_LIMIT = 10.0  # beyond it there is nothing to predict: sigma or alpha is under 0.7 %
ANGLE_START = math.atan(math.exp(-LOGSNR_LIMIT / 2))
ANGLE_SPAN = math.pi / 2 - 2 * ANGLE_START


def angle(t: Tensor) -> Tensor:
    """phi at times t in [0, 1] (0: data, 1: noise)."""
    return ANGLE_START + ANGLE_SPAN * t


def time_of(phi: float) -> float:
    """The time in [0, 1] of an angle; the nearest one of an angle beyond both ends."""
    return min(max((phi - ANGLE_START) / ANGLE_SPAN, 0.0), 1.0)


def alpha_sigma(t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Scale of signal and noise at times t `[B]`, shaped to multiply `like` `[B, ...]`; alpha^2 + sigma^2 = 1."""
    phi = angle(t).view(-1, *([1] * (like.dim() - 1)))
    return phi.cos(), phi.sin()


def snr(t: Tensor) -> Tensor:
    """Signal-to-noise ratio alpha^2 / sigma^2 at times t."""
    return angle(t).tan().square().reciprocal()


def noised(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t."""
    alpha, sigma = alpha_sigma(t, clean)
    return alpha * clean + sigma * noise


def target(clean: Tensor, noise: Tensor, t: Tensor, prediction: str) -> Tensor:
    """What the network is asked for: "epsilon", "v" or "x"."""
    if prediction == "epsilon":
        return noise
    if prediction == "x":
        return clean
    alpha, sigma = alpha_sigma(t, clean)
    return alpha * noise - sigma * clean


def velocity(output: Tensor, x: Tensor, t: Tensor, prediction: str) -> Tensor:
    """v from the network's output at x_t."""
    if prediction == "v":
        return output
    alpha, sigma = alpha_sigma(t, x)
    return (output - sigma * x) / alpha if prediction == "epsilon" else (alpha * x - output) / sigma


def clean_and_noise(v: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The x_0 and eps that v and x_t stand for: a rotation, exact in both directions."""
    alpha, sigma = alpha_sigma(t, x)
    return alpha * x - sigma * v, sigma * x + alpha * v


def loss_weight(t: Tensor, prediction: str, weighting: str, *, snr_clip: float = 5.0, p2_gamma: float = 1.0) -> Tensor:
    """The factor `[B]` of the squared error of what is predicted.

    The squared error of epsilon is SNR times that of x, and the one of v 1 + SNR times. So with the weights on x of
    min-SNR, min(SNR, clip), and of P2, SNR / (1 + SNR)^gamma, the factor is that weight over 1, SNR or 1 + SNR.
    """
    if weighting == "uniform":
        return torch.ones_like(t)
    ratio = snr(t)
    on_x = ratio.clamp(max=snr_clip) if weighting == "min_snr" else ratio / (1 + ratio) ** p2_gamma
    return on_x / {"x": torch.ones_like(ratio), "epsilon": ratio, "v": 1 + ratio}[prediction]


def ddim(v: Callable[[Tensor, Tensor], Tensor], x: Tensor, *, steps: int) -> Tensor:
    """DDIM without added noise (Song et al. 2021, eq. 12) from noise x in equal steps: rotate x by v(x, t)."""
    delta = ANGLE_SPAN / steps
    for k in range(steps):
        t = torch.full((len(x),), 1 - k / steps, device=x.device, dtype=x.dtype)
        x = math.cos(delta) * x - math.sin(delta) * v(x, t)
    return x


def ddpm(v: Callable[[Tensor, Tensor], Tensor], x: Tensor, *, steps: int, noise: Callable[[int], Tensor]) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) in equal steps, with the posterior's variance.

    `noise(k)` gives the normal noise of step k, shaped like x; the last step adds none.
    """
    for k in range(steps):
        phi, later_phi = (ANGLE_START + ANGLE_SPAN * (1 - j / steps) for j in (k, k + 1))
        t = torch.full((len(x),), 1 - k / steps, device=x.device, dtype=x.dtype)
        clean, _ = clean_and_noise(v(x, t), x, t)
        if k == steps - 1:
            return clean
        ratio = math.cos(phi) / math.cos(later_phi)
        added = math.sin(phi) ** 2 - ratio**2 * math.sin(later_phi) ** 2  # variance of x_t given x_s
        share = math.sin(later_phi) ** 2 / math.sin(phi) ** 2
        x = ratio * share * x + math.cos(later_phi) * added / math.sin(phi) ** 2 * clean
        x = x + math.sqrt(added * share) * noise(k)
    return x
