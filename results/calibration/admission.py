"""Which outcomes a prior has earned: those that lie clearly below what priors without training reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..groups import Group
from ..metric import NORMAL, Metric
from ..rows import Row

# It lies between two training latents and so is no model of them: near enough to copies to beat any small prior.
_NO_MODEL = "cfd_interpolation_"


@dataclass(frozen=True, kw_only=True)
class Admission:
    """The cells whose outcome counts, those whose prior did not earn it (`censored`), and how many of the first have
    nothing to be tested against."""

    admitted: tuple[Group, ...]
    censored: tuple[Group, ...]
    untested: int


def admission(groups: Sequence[Group], outcomes: Sequence[str]) -> Admission:
    """Sort out the cells of which a gFD (`outcomes`: one net's, or those of all nets) measures an undertrained prior.

    A cell is admitted where in every seed and for every net gfd + 1.96 √(se² + se_c²) < cfd, with cfd the smallest
    distance of a prior in closed form of the same latents. Both are compared with one reference, whose errors they
    share, so that the interval of the difference is rather too wide. Where a net has no such distance, nothing is
    tested.
    """
    admitted, censored, untested = [], [], 0
    for group in groups:
        verdicts = [_earned(row, name) for row in group.rows for name in outcomes]
        known = [verdict for verdict in verdicts if verdict is not None]
        if all(known):
            admitted.append(group)
            untested += not known
        else:
            censored.append(group)
    return Admission(admitted=tuple(admitted), censored=tuple(censored), untested=untested)


def is_trained_distance(outcome: str) -> bool:
    """Whether the outcome is a Fréchet distance that priors in closed form are measured by too."""
    return outcome == "gfid" or outcome.startswith("gfd_")


def best_closed_forms(row: Row) -> dict[str, Metric]:
    """By net, the smallest distance of a prior in closed form that is a model of the latents."""
    distances = [name.replace("rf", "gf", 1) for name in row.metrics if name == "rfid" or name.startswith("rfd_")]
    nets = {_net(name) for name in (*row.metrics, *distances) if is_trained_distance(name)}
    best: dict[str, Metric] = {}
    for name, metric in row.metrics.items():
        if not name.startswith("cfd_") or name.startswith(_NO_MODEL) or metric.value is None:
            continue
        net = max((net for net in nets if name.endswith(f"_{net}")), key=len, default="")
        known = best.get(net)
        if net and (known is None or known.value is None or metric.value < known.value):
            best[net] = metric
    return best


def _earned(row: Row, outcome: str) -> bool | None:
    """Whether the row's prior lies clearly below the best one in closed form; None where either is not known."""
    trained, best = row.metrics.get(outcome), best_closed_forms(row).get(_net(outcome))
    if trained is None or trained.value is None or best is None or best.value is None:
        return None
    return trained.value + NORMAL * math.hypot(_error(trained), _error(best)) < best.value


def _net(outcome: str) -> str:
    return "inception" if outcome == "gfid" else outcome.removeprefix("gfd_")


def _error(metric: Metric) -> float:
    """The standard error of a metric, read from its interval where it states none."""
    if metric.se is not None:
        return metric.se
    if metric.interval is not None:
        return (metric.interval[1] - metric.interval[0]) / (2 * NORMAL)
    return 0.0
