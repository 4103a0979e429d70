"""`latentbench cancel`: leave a job out. Torch-free."""

from __future__ import annotations

import argparse

from .options import named_path

HELP = "leave out a job that waits, and all that need it, until `retry` or the next `run`"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dir", metavar="DIR", type=named_path, help="the run's --out folder")
    command.add_argument("jobs", metavar="JOB", nargs="+", help="its id, its key, or words of its title")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.activity import active, active_since
    from ...results.errors import UserError
    from ...results.record import Failure, Record
    from ...results.store import Store
    from ..status import find, status

    store = Store(arguments.dir)
    if active_since(store.root) is not None and not active(store.root):
        raise UserError(f"{store.root}: the run there takes no word from outside; only `--engine leases` does")
    jobs = [find(arguments.dir, name) for name in arguments.jobs]
    running = {run.job for run in status(arguments.dir).running}
    for job in jobs:
        if job.id in running:
            raise UserError(f"{job.title} [{job.id}] is running; cancel it before, or end who runs it")
        if store.load_any(job.kind, job.key) is not None:
            raise UserError(f"{job.title} [{job.id}] has ended already; see `latentbench status {arguments.dir}`")
    error = Failure(type="Cancelled", message="by hand")
    for job in jobs:
        store.save(Record(kind=job.kind, key=job.key, status="failed", error=error), replace=False)
        print(f"cancelled: {job.title} [{job.id}]")
    return 0
