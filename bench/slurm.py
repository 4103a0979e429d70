"""A sweep as an array of a cluster's jobs, each of which is a `latentbench work`; submitted by submitit. Torch-free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..results.errors import UserError

FOLDER = "slurm"  # below OUT: submitit's scripts, and what the elements print
_INTERRUPTED = 130


@dataclass
class Element:
    """One element of the array: joins the run in `root` until nothing is left to do. Called by submitit.

    Before the time limit, or when it is preempted, submitit calls `checkpoint`: the work stops with checkpoints, gives
    its leases back, and the element is queued again.
    """

    root: str
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __call__(self) -> int:
        """Work; returns the exit code of `latentbench work`. Raises RuntimeError for one that says it could not."""
        command = [sys.executable, "-P", "-m", f"{__package__}.cli", "work", self.root, *self.arguments]
        self.process = subprocess.Popen(command)
        _await_end(self.process.pid)
        code = self.process.wait()
        if code not in (0, 1, _INTERRUPTED):
            raise RuntimeError(f"`latentbench work {self.root}` ended with exit code {code}; what it said stands above")
        return code

    def checkpoint(self) -> Any:
        """Stop the work; returns what submitit queues again."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
            _await_end(self.process.pid)
        return DelayedSubmission(Element(self.root, self.arguments))


def _await_end(pid: int) -> None:
    """Wait until the child has ended; its exit code stays to be read.

    Not by `Popen`, whose methods hold a lock: `checkpoint` runs in a signal's handler, in the middle of `__call__`.
    """
    with suppress(ChildProcessError):  # its code has been read
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def submit(
    root: Path, *, machines: int, cluster: str, parameters: Mapping[str, Any], arguments: tuple[str, ...] = ()
) -> list[Any]:
    """Submit an array of `machines` elements that work on the plan in `root`; returns submitit's jobs.

    `cluster` is "slurm", or "local" for processes of this machine; `parameters` are those of
    `submitit.AutoExecutor.update_parameters`. Raises UserError without submitit or sbatch, and for unknown parameters.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("slurm needs submitit: pip install 'latentbench[slurm]'") from None
    root = root.resolve()
    try:
        executor = submitit.AutoExecutor(folder=root / FOLDER, cluster=cluster)
        executor.update_parameters(**parameters)
    except (RuntimeError, NameError, TypeError) as error:  # no sbatch here; no such parameter
        raise UserError(f"--cluster {cluster}: {error}") from None
    with executor.batch():
        return [executor.submit(Element(str(root), arguments)) for _ in range(machines)]
