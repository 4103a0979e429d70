"""Use of a posterior: active units and KL per channel, by which a collapse shows.

Shape legend: N samples, C channels, *grid the positions of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

# Burda et al. 2016, section 5.2; the activity of units is bimodal, so the exact place matters little.
ACTIVE_VARIANCE = 0.01


def kl_bits_by_channel(mean: Tensor, scale: Tensor) -> Tensor:
    """KL(N(mean, scale^2) || N(0, 1)) of each channel, summed over positions, in bits: `[N, C, *grid]` to `[N, C]`.

    1/2 sum (mean^2 + scale^2 - 1 - 2 ln scale) / ln 2 (Kingma and Welling 2014, appendix B), in float64.
    """
    mu, std = mean.double(), scale.double()
    kl = 0.5 * (mu.square() + std.square() - 1 - 2 * std.log())
    return kl.reshape(*mean.shape[:2], -1).sum(2) / math.log(2)


class UnitVariance:
    """The variance over samples of every unit's posterior mean, counted in a stream of `[N, C, *grid]` means.

    What is counted stays on the means' device until it is read.
    A unit is one latent value: a channel at a position.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def update(self, mean: Tensor) -> None:
        """Adds posterior means `[N, C, *grid]` (Chan et al. 1979: exact also where means are large)."""
        batch = mean.detach().double()
        count, centre = len(batch), batch.mean(0)
        squares = (batch - centre).square().sum(0)
        if self._mean is None or self._squares is None:
            self.samples, self._mean, self._squares = count, centre, squares
            return
        so_far, squares_so_far = self._mean.to(batch.device), self._squares.to(batch.device)
        total, difference = self.samples + count, centre - so_far
        self._squares = squares_so_far + squares + difference.square() * self.samples * count / total
        self._mean = so_far + difference * count / total
        self.samples = total

    def state(self) -> dict[str, Tensor]:
        """What has been counted, as tensors on the CPU."""
        if self._mean is None or self._squares is None:
            return {}
        return {"samples": torch.tensor(self.samples), "mean": self._mean.cpu(), "squares": self._squares.cpu()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        if state:
            self.samples, self._mean, self._squares = int(state["samples"]), state["mean"], state["squares"]

    def variance(self) -> Tensor:
        """`[C, *grid]` float64, divided by the number of samples less one. Raises ValueError under two samples."""
        if self._squares is None or self.samples < 2:
            raise ValueError("a variance needs at least two samples")
        return self._squares / (self.samples - 1)

    def active(self, threshold: float = ACTIVE_VARIANCE) -> list[int]:
        """Active units per channel: those with Var_x(E[z|x]) above `threshold` (Burda et al., arXiv 1509.00519)."""
        above = self.variance() > threshold
        counts: list[int] = above.reshape(len(above), -1).sum(1).tolist()
        return counts
