"""What a cell's jobs took, summed up."""

from __future__ import annotations

from typing import Any

from latentbench.results.costs import COST, costs
from latentbench.results.record import Record


def record(kind: str, seconds: Any, flops: Any, **facts: Any) -> Record:
    run = {"seconds": seconds, "train_seconds": seconds, "samples_per_second": 3, "peak_memory_bytes": seconds * 10}
    return Record(
        kind=kind, key="k", run=run, extra={"flops": flops, "parameters": 7}, **{"status": "finished", **facts}
    )


def test_sums_are_of_finished_jobs_of_their_kinds() -> None:
    records = {
        "data/k": record("data", 1.0, 1),
        "tokenizer/k": record("tokenizer", 2.0, 20, depends=("data/k",)),
        "prior/k": record("prior", 4.0, "many"),
        "generation/k": record("generation", 8.0, 800, status="failed"),
    }
    assert costs(records) == {
        "parameters": 7,
        "prior_parameters": 7,
        "flops": 20,  # the data's are shared by other cells, the prior's no number
        "tokenizer_flops": 20,
        "prior_flops": None,
        "seconds": 6.0,
        "train_seconds": 6.0,
        "prior_seconds": 4.0,
        "sampling_per_second": None,
        "peak_memory_bytes": 40.0,
    }
    assert tuple(costs({})) == COST
    assert {*costs({}).values()} == {None}
