"""What a command does that torchrun, or another launcher of its kind, starts several times at once. Torch-free.

The processes that share a training are forked by its job (`rank_processes`), which may be one of hundreds. So the
process of rank 0 does what the command says, once, and the others end at once in its favour.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ..results.errors import UserError
from .jobs import Job


@dataclass(frozen=True, kw_only=True)
class Launch:
    """This process among the `count` that a launcher has started, `local` of them on this machine."""

    rank: int
    count: int
    local: int

    def refuse_machines(self) -> None:
        """Raises UserError where the processes are not all on one machine."""
        if self.local != self.count:
            here = f"{self.local} of {self.count} processes" if self.local else "an unknown number of processes"
            message = (
                f"a launcher has started {here} on this machine, and the devices of a training are those of one; start "
                "the run once, without a launcher: more machines join by --engine leases or ray, or `latentbench slurm`"
            )
            raise UserError(message)

    def check(self, jobs: Iterable[Job]) -> None:
        """Raises UserError where no job has as many devices as there are processes, or another process leads."""
        if self.rank:
            raise UserError(f"a launcher has started {self.count} processes: call `run` in the one of rank 0 alone")
        most = max((job.devices for job in jobs), default=self.count)
        if most != self.count:
            message = (
                f"a launcher has started {self.count} processes, and training.devices is {most}: "
                f"--set training.devices={self.count}, or the same command without a launcher"
            )
            raise UserError(message)


def launched() -> Launch | None:
    """What the launcher's variables say; None where this process is the only one."""
    rank, count, local = (_number(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if rank is None or count is None or count < 2:
        return None
    return Launch(rank=rank, count=count, local=local or 0)


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None
