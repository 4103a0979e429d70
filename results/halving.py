"""Successive halving: whose training goes on after a share of its steps, and whose not. Torch-free.

A job of the kind "halving" ranks the trainings of a group at a rung, by a number of their `rung` jobs; its record is
read like a gate's. Who was stopped at an earlier rung stands in it with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .gates import Gate, reason_of_all
from .record import Record

RUNG = "rung"  # the kind of job that trains up to a rung
STOPPED = "stopped at rung"  # how the status begins of a cell whose training does not go on


def why_stopped(rungs: Mapping[str, Any], done: Mapping[str, Record]) -> str:
    """Why a training was stopped early; "" where it goes on, or where it has failed itself.

    `rungs` are those of a cell in a suite's file, `done` the records of jobs that have ended.
    """
    if any(job in done and done[job].status == "failed" for job in rungs["trained"]):
        return ""
    for rung in rungs["rungs"]:
        gate = Gate(**{name: rung[name] for name in ("job", "candidate", "limit")})
        record = done.get(gate.job)
        if record is None or record.status != "finished":
            return ""
        if why := reason_of_all({gate.job: record}, [gate]):
            return why
    return ""
