"""The uncertainty of a Fréchet distance between reconstructions and their own originals.

Both sides hold the same samples. What an original adds to the one side its reconstruction adds to the other, and most
of it cancels in the distance; an interval that leaves groups out of one side alone does not see that, and can be tens
of times too wide. Here a sample leaves both sides at once.

Shape legend: N reconstructions, M originals (M >= N), D feature length, G groups.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.errors import UserError
from ...results.metric import Metric
from .frechet import FrechetReference, frechet_distance, frechet_line
from .jackknife import delete_a_group, distance_metric, group_of


def paired_frechet_metric(
    name: str, features: Tensor, reference: FrechetReference, *, protocol: str, groups: int = 20
) -> tuple[Metric, list[float]]:
    """The Fréchet distance of reconstructions to originals, as a metric called `name`, and its jackknife's values.

    `features` `[N, D]`: row i is the reconstruction of the reference's row i; originals without a reconstruction come
    after them. Standard error and 95 % interval by a delete-a-group jackknife over samples: those whose index is g
    modulo `groups` leave both sides. With more than 512 eigenvalues to find there are at most 10 groups, with more than
    1,024 at most 5. The second part has the distance without each group in turn, by which cells that share their
    samples are compared (`results.samples.pseudovalues`); it is empty where there is no interval. Samples with features
    that are not finite are left out and counted. Raises UserError when the reference holds no features, or fewer than
    there are reconstructions.
    """
    originals = reference.features
    if originals is None or len(originals) < len(features):
        raise UserError(
            f"{name}: {len(features)} reconstructions need as many originals in the reference, which holds "
            f"{0 if originals is None else len(originals)}"
        )
    finite = torch.isfinite(features).all(1)
    n = int(finite.sum())
    value = frechet_distance(features[finite], reference) if n >= 2 else None
    sides = min(len(originals), features.shape[1])
    groups = min(groups, 5 if sides > 1024 else 10 if sides > 512 else groups, len(features) // 2)
    left_out: list[float] = []
    if groups >= 2 and n >= 2 * groups:
        left_out = _without_each_group(features, finite, originals, groups)
    line, missing = frechet_line(protocol, n, reference), len(features) - n
    spread = delete_a_group(left_out)
    return distance_metric(name, value, *spread, n=n, missing=missing, protocol=line, least=0.0), left_out


def _without_each_group(features: Tensor, finite: Tensor, originals: Tensor, groups: int) -> list[float]:
    """The distance without each group of samples, which leaves both sides."""
    origin = originals.double().mean(0)
    x_ND, y_MD = features.double() - origin, originals.double() - origin
    m, n = len(y_MD), len(x_ND)
    wide = m <= y_MD.shape[1]
    # Products of all samples are computed once; a group's own are then cut out or subtracted.
    x_finite = x_ND[finite]
    cross_NM = x_ND @ y_MD.t() if wide else None
    scatters = None if wide else (x_finite.t() @ x_finite, y_MD.t() @ y_MD)
    values = []
    for part in group_of(m, groups):
        y_stays = torch.ones(m, dtype=torch.bool)
        y_stays[part] = False
        x_stays = finite & y_stays[:n]
        x, y = x_ND[x_stays], y_MD[y_stays]
        x_mean, y_mean = x.mean(0), y.mean(0)
        spread = float(x.square().sum() - len(x) * x_mean.square().sum()) / (len(x) - 1)
        spread += float(y.square().sum() - len(y) * y_mean.square().sum()) / (len(y) - 1)
        if cross_NM is not None:
            cross = cross_NM[x_stays][:, y_stays]
            cross = cross - cross.mean(0)
            roots = _singular_values(cross - cross.mean(1, keepdim=True)) / ((len(x) - 1) * (len(y) - 1)) ** 0.5
        else:
            assert scatters is not None
            x_gone, y_gone = x_ND[finite & ~y_stays[:n]], y_MD[~y_stays]
            x_cov = torch.addr(scatters[0] - x_gone.t() @ x_gone, x_mean, x_mean, alpha=-len(x)) / (len(x) - 1)
            y_cov = torch.addr(scatters[1] - y_gone.t() @ y_gone, y_mean, y_mean, alpha=-len(y)) / (len(y) - 1)
            eigenvalues, vectors = torch.linalg.eigh(y_cov)
            factor = vectors * eigenvalues.clamp_min(0).sqrt()
            roots = torch.linalg.eigvalsh(factor.t() @ x_cov @ factor).clamp_min(0).sqrt()
        values.append(float((x_mean - y_mean).square().sum()) + spread - 2 * float(roots.sum()))
    return values


def _singular_values(matrix: Tensor) -> Tensor:
    gram = matrix @ matrix.t() if len(matrix) <= matrix.shape[1] else matrix.t() @ matrix
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
