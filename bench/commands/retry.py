"""`latentbench retry`: let what has failed be done again. Torch-free."""

from __future__ import annotations

import argparse
import shlex

from .options import named_path

HELP = "forget failures, so that `work` or the next `run` does those jobs again"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dir", metavar="DIR", type=named_path, help="the run's --out folder")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--failed", action="store_true", help="all that have failed or were cancelled")
    which.add_argument("--job", metavar="JOB", action="append", help="only this one (may be repeated)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.activity import active
    from ...results.display import counted
    from ...results.errors import one_line
    from ...results.gates import is_partial
    from ...results.store import Store
    from ..console import complain
    from ..plan_overview import shares_work
    from ..status import find, jobs_of

    store = Store(arguments.dir)
    jobs = jobs_of(arguments.dir).values() if arguments.failed else [find(arguments.dir, job) for job in arguments.job]
    forgotten = 0
    for job in jobs:
        record = store.load_any(job.kind, job.key)
        if record is None and store.is_newer(job.kind, job.key):
            complain(one_line(f"kept, of a newer latentbench: {job.title} [{job.id}]"))
        if record is not None and (record.status == "failed" or is_partial(record)):
            store.discard(record)
            forgotten += 1
            print(f"to be done again: {job.title} [{job.id}]")
    how = "the same `latentbench run` does them again"
    if shares_work(arguments.dir):
        how = f"`latentbench work {shlex.quote(str(arguments.dir))}`, or the same `latentbench run`, does them again"
        if active(arguments.dir):
            how = "those who work there do them again"
    print(f"{counted(forgotten, 'failure')} forgotten" + (f"; {how}" if forgotten else ""))
    return 0
