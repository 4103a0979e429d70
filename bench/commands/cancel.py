"""`latentbench cancel`: leave a job out. Torch-free."""

from __future__ import annotations

import argparse
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from .options import named_path

if TYPE_CHECKING:
    from ...results.store import Store
    from ..plan_overview import Planned

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
    from ...results.record_file import CANCELLED
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
        _refuse_ended(store, job)
    error = Failure(type=CANCELLED, message="by hand")
    for job in jobs:
        if not store.save(Record(kind=job.kind, key=job.key, status="failed", error=error), replace=False):
            _refuse_ended(store, job)  # in this moment
        print(f"cancelled: {job.title} [{job.id}]")
    return 0


def _refuse_ended(store: Store, job: Planned) -> None:
    """Raises UserError for a job that has a record, and removes a damaged one, which says nothing."""
    from ...results.errors import UserError
    from ...results.record import InvalidRecord, NewerRecord
    from ...results.store import RECORD

    try:
        store.read(job.kind, job.key)
    except NewerRecord as error:
        raise UserError(f"{job.title} [{job.id}] has a record of a newer latentbench: {error}") from None
    except InvalidRecord:
        with suppress(OSError):
            (store.job_folder(job.kind, job.key) / RECORD).unlink()
        return
    raise UserError(
        f"{job.title} [{job.id}] has ended already; see `latentbench status {shlex.quote(str(store.root))}`"
    )
