"""`latentbench logs`: what a job has said. Torch-free."""

from __future__ import annotations

import argparse
import sys

from .options import named_path

HELP = "the log of a job's last attempt"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dir", metavar="DIR", type=named_path, help="the run's --out folder")
    command.add_argument("job", metavar="JOB", help="its id, its key or the beginning of it, or words of its title")
    command.add_argument("--all", action="store_true", help="of all attempts, the first one first")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.activity import logs
    from ...results.errors import UserError
    from ...results.store import Store
    from ..status import find

    job = find(arguments.dir, arguments.job)
    paths = logs(Store(arguments.dir).job_folder(job.kind, job.key))
    if not paths:
        raise UserError(f"{job.title} [{job.id}]: it has no log: it has not started")
    for path in paths if arguments.all else paths[-1:]:
        print(f"{path}:")
        try:
            sys.stdout.write(path.read_text(errors="replace"))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    return 0
