"""`latentbench work`: join a run that shares its folder. Torch-free."""

from __future__ import annotations

import argparse
import shlex

from ..console import complain
from .options import device_options, named_path, sink_option

HELP = "join a run of the engine `leases`, on this machine or another that shares the folder"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dir", metavar="DIR", type=named_path, help="the run's --out folder")
    device_options(command)
    sink_option(command)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..join import join
    from .output import told_failures

    options = {name: getattr(arguments, name) for name in ("devices", "jobs_per_device", "sinks")}
    outcome = join(arguments.dir, **options)
    named = shlex.quote(str(arguments.dir))
    print(f"nothing is left to do in {arguments.dir}: latentbench leaderboard {named}")
    if outcome.failed or outcome.cancelled or outcome.skipped:
        complain(f"latentbench: {told_failures(outcome.failed, outcome.skipped, cancelled=outcome.cancelled)}")
    return 1 if outcome.failed else 0
