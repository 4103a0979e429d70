"""Distances between sets of features, reported: Fréchet and kernel distance over a named net, for one reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..results.errors import UserError
from ..results.metric import Metric
from .interface import FeatureNet
from .metrics.balls import DENSITY_K, Manifold, evenly, manifold_part
from .metrics.frechet import FrechetReference, frechet_metric
from .metrics.frechet_pairs import paired_frechet_metric
from .metrics.kid import kid_metric, paired_kid_metric
from .tensors import save_tensors

REFERENCE = "reference.safetensors"
FEATURES = "features.npy"
_RADII = "manifold_radii"
_KERNEL_FEATURES = 2048  # a kernel distance compares at most this many samples a side: its Gram matrices are dense


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One split's features under one net, computed once: what every cell of a data set is compared with."""

    split: str
    frechet: FrechetReference
    manifold: Manifold | None = None
    source: str = ""  # what it is, where it is no split of the data

    @property
    def title(self) -> str:
        """What protocols call it."""
        return self.source or f"{self.split} split"

    @property
    def features(self) -> Tensor:
        """The split's features `[N, dim]`."""
        features = self.frechet.features
        assert features is not None  # references are made with their features
        return features

    @classmethod
    def of(cls, features: Tensor, split: str) -> Reference:
        """From features `[N, dim]`."""
        part = manifold_part(features)
        manifold = Manifold.of(part) if len(part) > DENSITY_K else None
        return cls(split=split, frechet=FrechetReference.of(features), manifold=manifold)

    def save(self, folder: Path) -> None:
        """Write `reference.safetensors` atomically, without the features where `features.npy` lies beside it. Raises
        UserError when it can't be written."""
        radii = {} if self.manifold is None else {_RADII: self.manifold.radii}
        facts = {"split": self.split} | ({"source": self.source} if self.source else {})
        apart = (folder / FEATURES).exists()
        tensors = (replace(self.frechet, features=None) if apart else self.frechet).to_tensors()
        save_tensors(folder / REFERENCE, tensors | radii, facts)

    @classmethod
    def load(cls, folder: Path, split: str) -> Reference:
        """The inverse of `save`. Features stay in their file, mapped into memory."""
        tensors = load_file(folder / REFERENCE)
        if (folder / FEATURES).exists():
            tensors["features"] = mapped_features(folder)
        with safe_open(folder / REFERENCE, "pt") as file:
            source = (file.metadata() or {}).get("source", "")
        frechet = FrechetReference.from_tensors(tensors)
        manifold = None
        if _RADII in tensors and frechet.features is not None:
            manifold = Manifold(features=manifold_part(frechet.features), radii=tensors[_RADII])
        return cls(split=split, frechet=frechet, manifold=manifold, source=source)


def mapped_features(folder: Path) -> Tensor:
    """Features `[N, dim]` of `features.npy`, mapped into memory. Raises UserError for what is none."""
    path = folder / FEATURES
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a file of features ({error}); delete it and run again") from None


def distances(
    prefix: str, net: FeatureNet, features: Tensor, reference: Reference, *, note: str = "", seed: int
) -> list[Metric]:
    """Fréchet and kernel distance of samples' `features` `[N, dim]` to `reference`, named `gfd_<net>`, `gkd_<net>`.

    `prefix` is "g" for samples, "r" for reconstructions against something else than their originals; `note` joins the
    protocol. Only with FID's own Inception are they called `gfid` and `gkid`. The samples are taken to be
    independent of the reference: for reconstructions of its own signals see `paired_distances`. Against a reference of
    moments alone the kernel distance has no value, and says why.
    """
    frechet, kernel = _names(prefix, net)
    protocol = _protocol(net, reference, note)
    if reference.frechet.features is None:
        line = f"{protocol}; not measured: it needs features, and the reference holds moments alone"
        distance = Metric(name=kernel, value=None, direction="lower", role="distribution", protocol=line)
    else:
        ours, theirs = (side[evenly(len(side), _KERNEL_FEATURES)] for side in (features, reference.features))
        distance = kid_metric(kernel, ours, theirs, protocol=protocol, seed=seed)
    return [
        replace(
            frechet_metric(frechet, features, reference.frechet, protocol=protocol),
            shown="first",
            blind_to=net.blind_to,
        ),
        replace(distance, shown="default" if prefix == "g" else "asked", blind_to=net.blind_to),
    ]


def floor(net: FeatureNet, data: Reference, reference: Reference, *, samples: int) -> Metric:
    """`fd_floor_<net>`: the Fréchet distance to `reference` of `samples` of the other split's own signals (all where
    there are fewer, else evenly spread): what a perfect prior would have, for `gfd_<net>` at the same N."""
    mine = data.features[evenly(len(data.features), samples)]
    line = _protocol(net, reference, f"signals of the {data.title}")
    metric = frechet_metric(f"fd_floor_{net.name}", mine, reference.frechet, protocol=line)
    return replace(metric, direction="none")


def paired_distances(
    net: FeatureNet, features: Tensor, reference: Reference, *, note: str = ""
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Fréchet and kernel distance of reconstructions to originals: `rfd_<net>` and `rkd_<net>`, or `rfid` and `rkid`.

    Row i of `features` `[N, dim]` is the reconstruction of row i of `reference`, which may hold further originals at
    its end. A sample leaves both sides in the intervals. The second part has, by metric, the distance without each
    group of samples in turn, from which two cells are compared (`results.samples.pseudovalues`).
    """
    frechet, kernel = _names("r", net)
    protocol = _protocol(net, reference, note)
    distance, distance_left_out = paired_frechet_metric(frechet, features, reference.frechet, protocol=protocol)
    rows = evenly(len(features), _KERNEL_FEATURES)
    kid, kid_left_out = paired_kid_metric(kernel, features[rows], reference.features[rows], protocol=protocol)
    results = [
        replace(distance, shown="first", blind_to=net.blind_to),
        replace(kid, shown="asked", blind_to=net.blind_to),
    ]
    return results, {frechet: distance_left_out, kernel: kid_left_out}


def _names(prefix: str, net: FeatureNet) -> tuple[str, str]:
    if net.name == "inception":
        return f"{prefix}fid", f"{prefix}kid"
    return f"{prefix}fd_{net.name}", f"{prefix}kd_{net.name}"


def _protocol(net: FeatureNet, reference: Reference, note: str) -> str:
    return f"{net.protocol}; reference: {reference.title}" + (f"; {note}" if note else "")
