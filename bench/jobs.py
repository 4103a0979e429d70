"""Jobs: the nodes of a plan, identified by what they compute. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..results.canonical import compact
from ..results.gates import Gate

BATCH_SIZE = 64  # of what is encoded or judged, unless memory is short: no number depends on it
IDENTITY = ("kind", "config", "versions", "depends")  # what a key is the hash of


def key_of(identity: bytes) -> str:
    """The key of the job whose identity is, as compact JSON, this one: 20 hexadecimal digits."""
    return hashlib.sha256(identity).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of work with a record of its own.

    `config`, `versions` and `depends` (role -> id of another job) make its identity; `runtime` holds what it needs but
    what can't change a number (paths), `title` what people read, `flops` and `memory` (bytes) what it is expected to
    take, `step_flops` the FLOPs of one optimiser step or batch, from which its thread count follows, and `on_cpu`
    whether a GPU would be of no use to it. `devices` are how many share its batches; `memory` and `step_flops` are
    those of each. Before it begins, the jobs `after` which it comes must have ended, well or not; and one of its
    `gates`, where it has any, must let it through.
    """

    kind: str
    config: Mapping[str, Any]
    versions: Mapping[str, int]
    depends: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    runtime: Mapping[str, Any] = field(default_factory=dict)
    flops: float = 0.0
    step_flops: float = 0.0
    memory: int = 500_000_000
    on_cpu: bool = False
    devices: int = 1
    after: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()

    @cached_property
    def key(self) -> str:
        """Hash of the identity: 20 hexadecimal digits."""
        identity = {
            "kind": self.kind,
            "config": self.config,
            "versions": dict(self.versions),
            "depends": dict(self.depends),
        }
        return key_of(compact(identity).encode())

    @property
    def id(self) -> str:
        """`kind/key`: also the job's folder below `jobs/`."""
        return f"{self.kind}/{self.key}"

    @property
    def waits(self) -> tuple[str, ...]:
        """The ids of all jobs that must have ended before it begins."""
        return (*self.depends.values(), *self.after, *(gate.job for gate in self.gates))
