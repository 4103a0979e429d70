"""What a gate has decided: whose prior is trained, since its tokenizer is among the best of its group, and whose not.

A job of the kind "gate" ranks the tokenizers of a group by a number that is known without priors, and its record keeps
the places. It says nothing of how many are let through: that stands with each job that the gate holds back, so that a
larger share lets more through and moves no key. Everybody who reads the record decides alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from .record import Record

GATE, HALVING = "gate", "halving"  # the kinds of job that decide (the second: see `halving`)
SCORE = "modelability_score"  # by which a gate ranks that has a fitted score
CANDIDATES, ABSENT, DOUBTS = "candidates", "absent", "doubts"  # in the record's `extra`
RUNG_REACHED = "rung"  # likewise, of successive halving: the rung's `number` from 1 on, and the `share` of the training
LIMIT, REACHED = "limit", "reached"  # likewise, of asynchronous halving: how many pass of how many that came so far
ASYNCHRONOUS = "asynchronous"  # in such a job's configuration: what says how many pass
NO_PRIOR = "no prior"  # how the status begins of a cell that no gate has let through


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate as a job sees it that runs only if its tokenizer passes: the id of the `job` that ranks the group, which
    `candidate` of it the tokenizer is, and up to which place (the `limit`) they pass."""

    job: str
    candidate: str
    limit: int


def places(values: Mapping[str, float | None], *, higher: bool) -> dict[str, int | None]:
    """By candidate 1 + the number of those with a better value, so that equals share a place; None without a value."""
    known = [value for value in values.values() if value is not None]
    return {
        name: None if value is None else 1 + sum(other > value if higher else other < value for other in known)
        for name, value in values.items()
    }


def passes(record: Record, gate: Gate) -> bool:
    """Whether the candidate is let through. Raises UserError for a record that does not know it."""
    place = _standing(record, gate)["place"]
    return place is not None and int(place) <= _limit(record, gate)


def reason(record: Record, gate: Gate) -> str:
    """Why a candidate is not let through: a clause; of a training that was stopped at an earlier rung, as it was said
    there."""
    standing = _standing(record, gate)
    if standing["stopped"]:
        return str(standing["stopped"])
    by, of = record.extra["by"], str(sum(not other.get("stopped") for other in record.extra[CANDIDATES].values()))
    if REACHED in record.extra:
        of = f"{record.extra[REACHED]} so far"
    end, limit = "highest" if record.extra["direction"] == "higher" else "lowest", _limit(record, gate)
    place = f"among the {limit} of {of} with the {end} {by}" if limit > 1 else f"the {end} {by} of {of}"
    rung, head, tail = record.extra.get(RUNG_REACHED), "", ""
    if rung is not None:
        head, tail = f"stopped at rung {rung['number']}: ", f" after {rung['share']} of the training"
    return head + "; ".join(filter(None, [f"not {place}{tail}", standing["note"], *record.extra[DOUBTS]]))


def reason_of_all(records: Mapping[str, Record], gates: Sequence[Gate]) -> str:
    """Why none of the gates lets a job through, in the words of the first; "" where one does. `records` are those of
    the gates' jobs that have finished. Raises UserError."""
    known = [gate for gate in gates if gate.job in records]
    if not known or any(passes(records[gate.job], gate) for gate in known):
        return ""
    return reason(records[known[0].job], known[0])


def is_partial(record: Record) -> bool:
    """Whether a gate has decided without the results of jobs that had failed: it decides again when these are."""
    return record.kind in (GATE, HALVING) and bool(record.extra.get(ABSENT))


def union(of: Iterable[tuple[Gate, ...]]) -> tuple[Gate, ...]:
    """The gates of a job that several plans have: it runs if one of them lets it through, or if one has no gate."""
    listed = list(of)
    return tuple(dict.fromkeys(gate for gates in listed for gate in gates)) if all(listed) else ()


def _limit(record: Record, gate: Gate) -> int:
    """Up to which place the gate lets through: in asynchronous halving by how many have come so far."""
    return min(gate.limit, int(record.extra.get(LIMIT, gate.limit)))


def _standing(record: Record, gate: Gate) -> Mapping[str, Any]:
    try:
        standing: Mapping[str, Any] = record.extra[CANDIDATES][gate.candidate]
        return {"place": standing["place"], "note": standing["note"], "stopped": standing.get("stopped", "")}
    except (KeyError, TypeError):
        raise UserError(
            f"{gate.job}: its record does not rank {gate.candidate}: remove the job's folder, and run the suite again"
        ) from None
