"""Each score that a suite may ask of samples beyond distances, without computing it: name, version, what it needs.
Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...tokenizers import weights
from ...tokenizers.part import Part, resolve_target

SAMPLES_PER_DIMENSION = 16  # below it Fréchet distances do not fall as 1/N well enough to be extrapolated


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(Part):
    """What a suite may ask of samples beyond distances, measured on the features of its nets; `builds` a `Score`.

    `only_net` names the one net that it is defined on, `fewest` is how many samples it needs on either side;
    `reports` are its metrics' names as `tasks.metric_names` has them, None where it does not say.
    """

    reports: ClassVar[tuple[str, ...] | None] = None

    only_net: ClassVar[str | None] = None
    fewest: ClassVar[int] = 2

    def unsupported_reason(self, *, samples: int, dims: Mapping[str, int]) -> str | None:
        """Why so many samples under nets of these feature lengths cannot have it, or None when they can."""
        if self.only_net is not None and self.only_net not in dims:
            return f"needs {self.only_net} among the suite's features"
        return None if samples >= self.fewest else f"needs generation.samples of at least {self.fewest}, got {samples}"

    def check_weights(self, *, where: str) -> None:
        """Raises UserError when a file of weights lacks what it needs, which only reading the file tells."""


class ManifoldConfig(ScoreConfig):
    """Precision, recall, density and coverage: how far samples and data reach each other."""

    kind = "manifold"
    reports = ("precision_<net>", "recall_<net>", "density_<net>", "coverage_<net>")
    fewest = 6  # the fifth nearest neighbour, and the sample itself
    builds = "manifold:ManifoldScore"


class MemorisationConfig(ScoreConfig):
    """Whether samples are nearer to the training set than held-out data are."""

    kind = "memorisation"
    reports = ("nearest_train_ratio_<net>", "memorised_share_<net>", "nearest_sample_ratio_<net>")
    version = 2
    builds = "memorisation:MemorisationScore"


class FdInfinityConfig(ScoreConfig):
    """The Fréchet distance extrapolated to infinitely many samples."""

    kind = "fd_infinity"
    reports = ("fd_infinity_<net>", "fid_infinity")
    builds = "extrapolate:FdInfinity"

    def unsupported_reason(self, *, samples: int, dims: Mapping[str, int]) -> str | None:
        least, net = min(((samples_to_extrapolate(dim), net) for net, dim in dims.items()), default=(0, ""))
        if samples >= least:
            return None
        needed = f"{least} ({SAMPLES_PER_DIMENSION} per feature of {net})"
        return f"needs generation.samples of at least {needed}, got {samples}"


class InceptionScoreConfig(ScoreConfig):
    """Inception score, for weights that carry their classifier."""

    kind = "inception_score"
    reports = ("inception_score",)
    only_net = "inception"
    builds = "inception_score:InceptionScore"

    def check_weights(self, *, where: str) -> None:
        path = weights.require("inception", where=where)
        classifier = resolve_target("inception_score:classifier", beside=__name__)
        classifier(weights.load(path), path=path, where=where)


def samples_to_extrapolate(dim: int) -> int:
    """The fewest samples from which "fd_infinity" is measured on features of length `dim`."""
    return SAMPLES_PER_DIMENSION * dim
