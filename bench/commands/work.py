"""`latentbench work`: join a run that shares its folder. Torch-free."""

from __future__ import annotations

import argparse

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

    options = {name: getattr(arguments, name) for name in ("devices", "jobs_per_device", "sinks")}
    outcome = join(arguments.dir, **options)
    print(f"nothing is left to do in {arguments.dir}: latentbench leaderboard {arguments.dir}")
    if outcome.failed or outcome.skipped:
        complain(f"latentbench: {outcome.failed} jobs failed and {outcome.skipped} that need them were skipped")
    return 1 if outcome.failed else 0
