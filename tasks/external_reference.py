"""A reference from a file of statistics, in place of a data set's own split."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..results.errors import UserError
from ..tokenizers.spec import SignalSpec
from .distances import Reference
from .features import collect
from .interface import FeatureNet
from .metrics.balls import DENSITY_K, Manifold, manifold_part
from .metrics.frechet import FrechetReference
from .statistics_file import EXTERNAL, StatisticsFile

_BATCH = 64


def external_reference(
    file: StatisticsFile, net: FeatureNet, signal: SignalSpec, device: torch.device, *, digest: str
) -> Reference:
    """The reference that `file` is for the features of `net`: its moments where it has those of the net, else those of
    its pictures' features; these features too, where it has pictures.

    `digest` names the file's content in protocols. Raises UserError where it is a reference of another net, another
    protocol or pictures of another size.
    """
    reason = file.unsupported_reason(net.name, net.dim)
    if reason is not None:
        raise UserError(f"{file.path}: {reason}")
    features = collect(net, _pictures(file, signal, device)) if file.pictures else None
    if file.has_moments_of(net.name):
        if file.protocol not in ("", net.protocol):
            raise UserError(f"{file.path}: is of {file.protocol!r}, and {net.name} is {net.protocol!r} here")
        mean, covariance = map(torch.from_numpy, file.moments(net.name))
        frechet = FrechetReference.of_moments(mean, covariance, n=file.n, features=features)
    else:
        assert features is not None  # it has moments or pictures
        frechet = FrechetReference.of(features)
    part = manifold_part(features) if features is not None and len(features) > DENSITY_K else None
    manifold = None if part is None else Manifold.of(part)
    return Reference(split=EXTERNAL, frechet=frechet, manifold=manifold, source=f"statistics {digest}")


def _pictures(file: StatisticsFile, signal: SignalSpec, device: torch.device) -> Iterator[Tensor]:
    """The file's pictures as batches of signals. Raises UserError where they have another size than the data."""
    if file.pictures[1:3] != tuple(signal.shape):
        size, own = ("x".join(map(str, shape)) for shape in (file.pictures[1:3], signal.shape))
        raise UserError(f"{file.path}: has pictures of {size} pixels, and the data have {own}")
    images = file.images()
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH]).to(device).permute(0, 3, 1, 2)
        yield batch.float() / 127.5 - 1
