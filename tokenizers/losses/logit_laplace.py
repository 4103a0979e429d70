"""The logit-Laplace likelihood: Ramesh et al. 2021 (DALL-E, arXiv 2102.12092), appendix A.3."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Loss

# The range's ends lie this far inside (0, 1), where the logit is finite.
EPSILON = 0.1
# The decoder's output has no bounds: closer than this to 0 and 1 the logit continues as a straight line.
_EDGE = EPSILON / 2


def to_unit(signal: Tensor) -> Tensor:
    """The term's input transform: [-1, 1] to [epsilon, 1 - epsilon], (1 - 2 epsilon)(x + 1) / 2 + epsilon."""
    return (1 - 2 * EPSILON) * (signal + 1) / 2 + EPSILON


class LogitLaplace(Loss):
    """See `logit_laplace`, at the configuration's scale."""

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        return logit_laplace(reconstruction, signal, scale=self.config.scale)


def logit_laplace(reconstruction: Tensor, signal: Tensor, *, scale: float) -> Tensor:
    """Mean of -ln f(phi(x) | mu, b) in nats: `[B, C, *signal]` twice to `[B]`; may be negative.

    f(y | mu, b) = exp(-|logit(y) - mu| / b) / (2 b y (1 - y)), the density of a sigmoid of a Laplace variable, whose
    support is bounded like the signals'. Here mu = logit(phi(x')) of the reconstruction x', so that decoding needs no
    inverse transform, and b = `scale` is one constant (in the paper the decoder predicts ln b per element).
    """
    target = to_unit(signal.clamp(-1, 1))
    distance = (target.logit() - _extended_logit(to_unit(reconstruction))).abs() / scale
    density = torch.log(2 * scale * target * (1 - target))
    return (distance + density).flatten(1).mean(1)


def _extended_logit(y: Tensor) -> Tensor:
    inside = y.clamp(_EDGE, 1 - _EDGE)
    slope = 1 / (_EDGE * (1 - _EDGE))
    return inside.logit() + slope * (y - inside)
