"""What the jobs of a cell took: parameters, FLOPs, seconds, memory, summed up over their records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from .record import Record

# Costs: the record's table and fact that are summed up over jobs (of a peak the largest counts), the kinds of these,
# where not all count, and whether those that other cells share count too.
_SUMS: Mapping[str, tuple[str, str, tuple[str, ...], bool]] = {
    "parameters": ("extra", "parameters", ("tokenizer",), True),
    "prior_parameters": ("extra", "parameters", ("prior",), True),
    "flops": ("extra", "flops", (), False),
    "tokenizer_flops": ("extra", "flops", ("tokenizer",), False),
    "prior_flops": ("extra", "flops", ("prior",), False),
    "seconds": ("run", "seconds", (), False),
    "train_seconds": ("run", "seconds", ("tokenizer", "prior"), False),
    "prior_seconds": ("run", "train_seconds", ("prior",), False),
    "sampling_per_second": ("run", "samples_per_second", ("generation",), False),
    "peak_memory_bytes": ("run", "peak_memory_bytes", (), False),
}
COST = (*_SUMS,)
_NUMBER = int, float


@cache
def _sums_of(kind: str, is_shared: bool) -> list[tuple[str, bool, str]]:
    """The costs to which a job of the kind adds, whether the fact is of `run` or of `extra`, and the fact."""
    return [
        (name, table == "run", fact)
        for name, (table, fact, kinds, of_shared) in _SUMS.items()
        if (not kinds or kind in kinds) and (of_shared or not is_shared)
    ]


def costs(records: Mapping[str, Record]) -> dict[str, float | None]:
    """What the finished ones of a cell's jobs took."""
    # What the tokenizer itself was made from (the data set) is shared by many cells: its cost is no cell's own.
    shared = {job for record in records.values() if record.kind == "tokenizer" for job in record.depends}
    totals: dict[str, float | None] = dict.fromkeys(COST)
    for job, record in records.items():
        if record.status == "finished":
            run, extra = record.run, record.extra
            for name, is_of_run, fact in _sums_of(record.kind, job in shared):
                value = run.get(fact) if is_of_run else extra.get(fact)
                if value is not None and isinstance(value, _NUMBER):
                    known = totals[name]
                    is_peak = name == "peak_memory_bytes"
                    totals[name] = value if known is None else max(known, value) if is_peak else known + value
    return totals
