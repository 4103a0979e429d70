"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6), in float64.

    d² = ‖m1 - m2‖² + tr(C1) + tr(C2) - 2 tr((C1 C2)^½)

The last trace is the nuclear norm of A1 A2ᵀ for any factors with Cᵢ = AᵢᵀAᵢ. With A1 the centred features themselves
and A2 a factor of the reference, computed once and kept, no root of a matrix is left: the singular values of the
features projected by A2 are all it takes, and those of the smaller Gram matrix's side.

Shape legend: N samples, D feature length, K rows of the reference's factor (at most D).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from .jackknife import delete_a_group, distance_metric, group_of

_ROWS = 16384  # of features that are read at a time


class Gaussian:
    """Mean and unbiased covariance of features seen in a stream, in float64.

    Batches are merged by Chan et al. (1983), so that neither order nor a large common mean costs precision.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.n = 0
        self.mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """The statistics of `[N, D]`."""
        gaussian = cls(features.shape[1], features.device)
        gaussian.update(features)
        return gaussian

    def update(self, features: Tensor) -> None:
        """Adds `[B, D]`. Raises UserError on another shape or values that are not finite."""
        x = _checked(features, len(self.mean)).to(self.mean.device, torch.float64)
        if len(x) == 0:
            return
        total = self.n + len(x)
        mean = x.mean(0)
        centred = x - mean
        shift = mean - self.mean
        self._scatter.addmm_(centred.t(), centred)
        self._scatter.addr_(shift, shift, alpha=self.n * len(x) / total)
        self.mean += shift * (len(x) / total)
        self.n = total

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance `[D, D]`; zero for fewer than two samples."""
        return self._scatter / max(self.n - 1, 1)


@dataclass(frozen=True, kw_only=True)
class FrechetReference:
    """What is kept of a reference set, computed once per data set and feature net.

    `mean` `[D]` and `factor` `[K, D]` float64 with covariance = factorᵀ factor: the centred features over √(n - 1)
    where n <= D (nothing to decompose), else the scaled eigenvectors of the covariance. `features` `[N, D]` are kept
    where a kernel distance is to be computed too.
    """

    n: int
    mean: Tensor
    factor: Tensor
    features: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, *, keep_features: bool = True) -> FrechetReference:
        """The reference made of features `[N, D]`. Raises UserError for N < 2 or values that are not finite."""
        if len(features) < 2:
            raise UserError(f"a reference needs at least 2 samples, got {len(features)}")
        stored = features if keep_features else None
        if features.ndim == 2 and len(features) > features.shape[1]:
            streamed = Gaussian(features.shape[1], features.device)
            for part in features.split(_ROWS):  # of a file, perhaps: never all in memory
                streamed.update(part)
            gaussian = cls.of_gaussian(streamed)
            return cls(n=gaussian.n, mean=gaussian.mean, factor=gaussian.factor, features=stored)
        x = _checked(features).double()
        mean = x.mean(0)
        return cls(n=len(x), mean=mean, factor=(x - mean) / math.sqrt(len(x) - 1), features=stored)

    @classmethod
    def of_gaussian(cls, gaussian: Gaussian) -> FrechetReference:
        """The reference made of streamed statistics, without features."""
        if gaussian.n < 2:
            raise UserError(f"a reference needs at least 2 samples, got {gaussian.n}")
        return cls.of_moments(gaussian.mean.clone(), gaussian.covariance, n=gaussian.n)

    @classmethod
    def of_moments(
        cls, mean: Tensor, covariance: Tensor, *, n: int, features: Tensor | None = None
    ) -> FrechetReference:
        """The reference of a mean `[D]` and a covariance `[D, D]`, float64, of `n` samples (0: nobody knows)."""
        values, vectors = torch.linalg.eigh(covariance)
        positive = values > 0  # rounding leaves tiny negative eigenvalues in a singular covariance
        factor = (vectors[:, positive] * values[positive].sqrt()).t().contiguous()
        return cls(n=n, mean=mean, factor=factor, features=features)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance `[D, D]`."""
        return self.factor.t() @ self.factor

    def to_tensors(self) -> dict[str, Tensor]:
        """Plain tensors, for a safetensors file."""
        tensors = {"n": torch.tensor(self.n), "mean": self.mean, "factor": self.factor}
        if self.features is not None:
            tensors["features"] = self.features
        return {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FrechetReference:
        """The inverse of `to_tensors`. Raises KeyError when a tensor is missing."""
        return cls(
            n=int(tensors["n"]), mean=tensors["mean"], factor=tensors["factor"], features=tensors.get("features")
        )


def frechet_distance(features: Tensor | Gaussian, reference: FrechetReference | Gaussian) -> float:
    """d² between the Gaussian of `features` (`[N, D]`, or streamed statistics) and the reference's.

    Exact to about 1e-7 relative. Raises UserError for fewer than two samples, lengths that differ, or values that are
    not finite.
    """
    if isinstance(reference, Gaussian):
        reference = FrechetReference.of_gaussian(reference)
    if isinstance(features, Gaussian):
        return _distance_of_gaussian(features, reference)
    return _Projected(features, reference).distance()


def frechet_metric(
    name: str, features: Tensor, reference: FrechetReference, *, protocol: str, groups: int = 10
) -> Metric:
    """The Fréchet distance as a metric, called `name` (`rfd_<net>`, `gfd_<net>`).

    Standard error and 95 % interval by a delete-a-group jackknife over the samples, the reference held fixed; with more
    than 1,024 eigenvalues to find, at most 5 groups. Samples with features that are not finite are left out and counted
    as missing. The distance is biased upwards at small N, so both sides' N go into the protocol.
    """
    finite = torch.isfinite(features).all(1)
    usable = features[finite]
    n = len(usable)
    value, left_out = None, []
    if n >= 2:
        projected = _Projected(usable, reference)
        value = projected.distance()
        if min(n, len(reference.factor)) > 1024:
            groups = min(groups, 5)
        if n >= 2 * groups:
            left_out = [projected.distance(without=part) for part in group_of(n, groups)]
    line, missing = frechet_line(protocol, n, reference), len(features) - n
    return distance_metric(name, value, *delete_a_group(left_out), n=n, missing=missing, protocol=line, least=0.0)


def frechet_line(protocol: str, n: int, reference: FrechetReference) -> str:
    """What a Fréchet distance's protocol says behind `protocol`."""
    against = reference.n or "a number that its file does not say"
    return f"{protocol}; n = {n} against {against}; unbiased covariances, float64"


class _Projected:
    """Features relative to the reference's mean, and their products with its factor; groups of them can be left out
    without repeating the products."""

    def __init__(self, features: Tensor, reference: FrechetReference) -> None:
        features = _checked(features, len(reference.mean))
        if len(features) < 2:
            raise UserError(f"a Fréchet distance needs at least 2 samples, got {len(features)}")
        device = features.device if features.device.type == "cuda" else torch.device("cpu")
        self.x_ND = features.to(device, torch.float64) - reference.mean.to(device)
        factor_KD = reference.factor.to(device)
        self.p_NK = self.x_ND @ factor_KD.t()
        self.trace = float(factor_KD.square().sum())
        self.wide = len(features) < len(factor_KD)
        self.sum_D = self.x_ND.sum(0)
        self.squares = float(self.x_ND.square().sum())
        self.gram = self.p_NK @ self.p_NK.t() if self.wide else self.p_NK.t() @ self.p_NK

    def distance(self, *, without: slice | None = None) -> float:
        n, total, squares, gram = len(self.x_ND), self.sum_D, self.squares, self.gram
        if without is not None:
            left_out = self.x_ND[without]
            n, total = n - len(left_out), total - left_out.sum(0)
            squares = squares - float(left_out.square().sum())
        mean = total / n
        if self.wide:
            if without is not None:
                others = torch.ones(len(self.x_ND), dtype=torch.bool, device=gram.device)
                others[without] = False
                gram = gram[others][:, others]
            row = gram.mean(0)
            gram = gram - row - (row - row.mean())[:, None]
        else:
            p_sum = self.p_NK.sum(0)
            if without is not None:
                left_out = self.p_NK[without]
                gram, p_sum = gram - left_out.t() @ left_out, p_sum - left_out.sum(0)
            gram = torch.addr(gram, p_sum, p_sum, alpha=-1 / n)
        # The singular values themselves cost five times as much as the roots of the Gram matrix's eigenvalues: they
        # are for matrices whose many zeros, as roots of rounding errors, would show in the distance.
        exact = None if without is not None else lambda: torch.linalg.svdvals(self.p_NK - self.p_NK.mean(0))
        apart = float(mean.square().sum()) + (squares - n * float(mean.square().sum())) / (n - 1) + self.trace
        return _subtract_trace(apart, gram, 1 / math.sqrt(n - 1), exact)


def _distance_of_gaussian(gaussian: Gaussian, reference: FrechetReference) -> float:
    if gaussian.n < 2 or gaussian.mean.shape != reference.mean.shape:
        raise UserError(
            f"a Fréchet distance needs at least 2 samples and equal lengths, got {gaussian.n} of length "
            f"{len(gaussian.mean)} and a reference of length {len(reference.mean)}"
        )
    covariance = gaussian.covariance
    factor = reference.factor.to(covariance.device)
    shift = gaussian.mean - reference.mean.to(covariance.device)
    apart = float(shift.square().sum() + covariance.trace() + factor.square().sum())

    def exact() -> Tensor:
        return torch.linalg.svdvals(FrechetReference.of_gaussian(gaussian).factor @ factor.t())

    return _subtract_trace(apart, factor @ covariance @ factor.t(), 1.0, exact)


def _subtract_trace(apart: float, gram: Tensor, scale: float, exact: Callable[[], Tensor] | None) -> float:
    """apart - 2 · scale · (sum of the singular values whose squares are gram's eigenvalues), not below 0."""
    squares = torch.linalg.eigvalsh(gram).clamp_min(0)
    norm = squares.sqrt().sum()
    value = apart - 2 * scale * float(norm)
    if exact is not None:
        rounding = 4 * torch.finfo(torch.float64).eps * squares[-1]
        doubt = 2 * scale * float((squares + rounding).sqrt().sum() - norm)
        if doubt > 1e-7 * max(value, 1e-9 * apart):
            value = apart - 2 * scale * float(exact().sum())
    return max(0.0, value)


def _checked(features: Tensor, dim: int | None = None) -> Tensor:
    if features.ndim != 2 or (dim is not None and features.shape[1] != dim):
        raise UserError(f"features must be [N, {'D' if dim is None else dim}], got {list(features.shape)}")
    if not bool(torch.isfinite(features).all()):
        raise UserError("features hold values that are not finite")
    return features
