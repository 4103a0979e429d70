"""Whether the lines of a table may be compared by a metric: where they may not, nothing is ranked, bold or an arrow.

Two things forbid it. The values may be of different things: a prior's loss is in units of one tokenizer's latents, and
a proxy of modelability depends on the shape of the latents. Or nothing tells how much of a difference is the luck of
one training: with one seed the interval inside a run says how well this one network was measured, and two trainings of
one recipe differ beyond it. Scores of the same signals (distortion, distances of reconstructions) are compared sample
by sample with one seed too: that tells the tokenizers apart that were trained, not their recipes.
"""

from __future__ import annotations

from collections.abc import Sequence

from .groups import Group, detail
from .lines import as_lines
from .metric import Role, Scope

SCORE = "modelability_score"  # in deviations from a table's mean: it orders the tokenizers of one table
_BECAUSE: dict[Scope, str] = {
    "shape": "it depends on the shape of the latents, which differs between lines",
    "tokenizer": "it is measured on the latents of each tokenizer, and the tokenizers differ",
}
_SHAPE = ("positions", "elements", "channels", "downsample", "discrete", "topology")
# What the training of a prior decides, and what that of a tokenizer does.
OF_PRIORS: tuple[Role, ...] = ("distribution", "generation", "prior")
OF_TOKENIZERS: tuple[Role, ...] = ("modelability", "latents", "probe")
_ONE_SEED = "one seed does not show how far another training would lie from it"


def incomparable(groups: Sequence[Group], metric: str) -> str:
    """Why the lines that have the metric may not be compared by it, as a clause without a full stop; "" if they may."""
    return other_latents(groups, metric) or one_training(groups, metric, OF_PRIORS + OF_TOKENIZERS)


def other_latents(groups: Sequence[Group], metric: str) -> str:
    """The part of `incomparable` that asks between which lines a metric may be compared (`Metric.scope`)."""
    known, valued = detail(groups, metric), as_lines(groups).valued(metric)
    if known is None or len(valued) < 2:
        return ""
    if known.scope == "shape" and len({_shape(group) for group in valued}) > 1:
        return _BECAUSE["shape"]
    return _BECAUSE["tokenizer"] if known.scope == "tokenizer" and not _one_tokenizer(valued) else ""


def one_training(groups: Sequence[Group], metric: str, roles: Sequence[Role]) -> str:
    """The part of `incomparable` that asks for a second seed, of metrics of these roles.

    One line with several seeds is enough among three or more: `pairwise.compare` takes the others' spread from it.
    """
    known, valued = detail(groups, metric), as_lines(groups).valued(metric)
    several = int((as_lines(groups).numbers(metric)[1].sum(1) > 1).sum())
    if known is None or known.role not in roles or len(valued) < 2 or several > (len(valued) == 2):
        return ""
    if known.role in OF_TOKENIZERS:
        return _ONE_SEED if any(map(_was_trained, valued)) else ""
    paired = known.role == "distribution" and all(group.entry(metric).sampled for group in valued)
    return "" if paired else _ONE_SEED


def _shape(group: Group) -> tuple[str, ...]:
    return tuple(str(group.common(name)) for name in _SHAPE)


def _was_trained(group: Group) -> bool:
    """Whether steps of training made the tokenizer; a codec, a closed form and a frozen network are what they are."""
    return bool(group.mean("tokenizer_flops"))


def _one_tokenizer(groups: Sequence[Group]) -> bool:
    """Whether all lines read the latents of one tokenizer, seed by seed, in at least one seed."""
    # A scramble changes what is read of one and the same tokenizer.
    jobs = [
        {row["seed"]: tuple(map(row.jobs.get, ("tokenizer", "scramble"))) for row in group.rows} for group in groups
    ]
    shared = set.intersection(*(set(of_line) for of_line in jobs))
    return bool(shared) and all(len({of_line[seed] for of_line in jobs}) == 1 for seed in shared)
