"""Whether claims speak of metrics that some kind of job can report: a typo is told before hours of training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..results.claims import Claim, ClaimComparison
from ..results.derived import SCALED
from ..results.errors import UserError, nearest, unknown
from ..results.rows import COST, SPEC
from ..tasks.metric_names import compiled, examples
from ..tokenizers.spec import Modality
from .kinds import kinds


def check_metrics(claims: Sequence[Claim], *, modalities: Iterable[Modality], axes: Iterable[str], where: str) -> None:
    """Refuse a comparison whose metric no kind of job reports of signals of the `modalities` (or of those that the
    comparison names). Columns of cells and `axes` of the grid count as metrics.

    Where a part of somebody else's does not say what it reports, any name may be right. Raises UserError with the
    nearest name.
    """
    if not claims:
        return
    patterns = {modality: reported(modality) for modality in Modality}
    names = {modality: None if of is None else compiled(of) for modality, of in patterns.items()}
    columns, of_suite = {*SPEC, *COST, *SCALED, *axes}, frozenset(modalities)
    for i, claim in enumerate(claims):
        for j, comparison in enumerate(claim.comparisons):
            place = f"{where}: claims[{i}].comparisons[{j}]"
            its = _modalities(comparison, f"{place}.modalities") or of_suite
            for key in ("metric", "right_metric"):
                metric = getattr(comparison, key)
                known = {modality for modality, of in names.items() if of is None or of.fullmatch(metric)}
                if metric and metric not in columns and not known & its:
                    of_its = [pattern for modality in sorted(its) for pattern in patterns[modality] or ()]
                    raise _unknown(metric, its, known, [*columns, *of_its], f"{place}.{key}")


def reported(modality: Modality) -> list[str] | None:
    """The patterns of all metrics of such signals, None where some part does not say what it reports."""
    patterns: list[str] = []
    for kind in kinds():
        of_kind = kind.reports(modality)
        if of_kind is None:
            return None
        patterns += of_kind
    return patterns


def _modalities(comparison: ClaimComparison, where: str) -> frozenset[Modality]:
    known = [modality.value for modality in Modality]
    for name in comparison.modalities:
        if name not in known:
            raise unknown("modality", name, known, where=where)
    return frozenset(map(Modality, comparison.modalities))


def _unknown(
    metric: str, its: Iterable[Modality], known: Iterable[Modality], patterns: Iterable[str], where: str
) -> UserError:
    of = " and ".join(sorted(its))
    if others := " and ".join(sorted(known)):
        return UserError(f"{where}: {metric!r} is a metric of {others} signals, and these are {of}")
    near = nearest(metric, examples(dict.fromkeys(patterns), like=metric))
    hint = f"did you mean {near!r}?" if near else f"no kind of job reports it of {of} signals"
    return UserError(f"{where}: unknown metric {metric!r}; {hint}")
