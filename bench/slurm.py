"""A sweep as an array of a cluster's jobs, each of which is a `latentbench work`; submitted by submitit. Torch-free."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..results.errors import LONGEST, UserError, one_line
from .console import complain

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
            work = f"latentbench work {shlex.quote(self.root)}"
            raise RuntimeError(f"`{work}` ended with exit code {code}; what it said stands above")
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


def check(*, cluster: str, parameters: Mapping[str, Any], requeues: int) -> None:
    """Raises UserError where `submit` would, before anything is planned or written."""
    with tempfile.TemporaryDirectory(prefix="latentbench-") as folder:
        _executor(Path(folder), cluster, parameters, requeues)


def submit(
    root: Path,
    *,
    machines: int,
    cluster: str,
    parameters: Mapping[str, Any],
    requeues: int = 100,
    arguments: tuple[str, ...] = (),
) -> list[Any]:
    """Submit an array of `machines` elements that work on the plan in `root`; returns submitit's jobs.

    `cluster` is "slurm", or "local" for processes of this machine; `parameters` are those of
    `submitit.AutoExecutor.update_parameters`; an element whose time is over is queued again up to `requeues` times.
    Raises UserError without submitit or sbatch, for unknown parameters, and for what the cluster refuses.
    """
    root = root.resolve()
    executor = _executor(root / FOLDER, cluster, parameters, requeues)
    try:
        with executor.batch():
            return [executor.submit(Element(str(root), arguments)) for _ in range(machines)]
    except (RuntimeError, OSError) as error:  # sbatch says no: an unknown partition, an account without time
        raise UserError(f"--cluster {cluster}: {error}") from None


def _executor(folder: Path, cluster: str, parameters: Mapping[str, Any], requeues: int) -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError("slurm needs submitit: pip install 'latentbench[slurm]'") from None
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise UserError("--cluster slurm: there is no sbatch here; run this on a node that submits jobs")
    try:
        # Its own default is 3 times: with a day each, three days.
        options = {f"{cluster}_max_num_timeout": requeues}
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **options)
        executor.update_parameters(**parameters)
    except (RuntimeError, NameError, TypeError, ValueError) as error:  # no srun here; no such parameter
        raise UserError(f"--cluster {cluster}: {error}") from None
    return executor


def wait(jobs: Sequence[Any]) -> int:
    """Wait until submitit's `jobs` have ended, and return the exit code: the highest of theirs, or 2 where one could
    not work, which is told."""
    from submitit.core.utils import UncompletedJobError

    code = 0
    for job in jobs:
        job.wait()
    for job in jobs:
        try:
            code = max(code, job.result())
        except (UncompletedJobError, OSError) as error:
            said = (job.stderr() or str(error)).strip().splitlines()
            told = next((line for line in said if line.startswith("latentbench: ")), said[-1])
            line = f"element {job.job_id} ended without an answer: {told} (all of it: {job.paths.stderr})"
            complain(one_line(line, limit=2 * LONGEST))  # it names several files
            code = 2
    return code
