"""`latentbench run`: run a suite, or go on with it. Torch-free."""

from __future__ import annotations

import argparse
import shlex

from .options import device_options, lease, named, named_path, seconds, sink_option, suite_options
from .output import report

ENGINES = frozenset(("local", "leases", "ray", "inline"))  # others, of the user's own, heed what they like
HELP = "run a suite, or go on with it"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    suite_options(command)
    command.add_argument("--out", metavar="DIR", type=named_path, help="where records go (default: runs/<suite>)")
    command.add_argument("--engine", default="local", help="where jobs run (default: local)")
    device_options(command)
    command.add_argument(
        "--checkpoint-seconds",
        type=seconds,
        default=30.0,
        metavar="S",
        help="seconds between checkpoints (default: 30)",
    )
    command.add_argument(
        "--stall",
        type=seconds,
        metavar="MINUTES",
        help="end and begin again a job without a sign of life for so long (default: 30, or 20 times its own pace)",
    )
    command.add_argument(
        "--lease",
        type=lease,
        metavar="S",
        help="leases: a machine silent for so many seconds loses its jobs to the others (default: 60)",
    )
    command.add_argument(
        "--address",
        type=named,
        help="ray: the cluster, HOST:PORT or auto (default: RAY_ADDRESS, else one of this machine, for this run)",
    )
    command.add_argument(
        "--plan-only", action="store_true", help="leases: write what is to be done, and leave it to `latentbench work`"
    )
    sink_option(command)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.errors import UserError
    from ..engines.interface import EXPIRY_SECONDS
    from ..runner import run_suite

    # Anything else than what the engine asks for would be left unheeded.
    for option, engine in (("lease", "leases"), ("address", "ray")):
        if getattr(arguments, option) is not None and arguments.engine in ENGINES - {engine}:
            raise UserError(f"--{option}: the engine {arguments.engine} has none; it is for --engine {engine}")
    outcome = run_suite(
        arguments.suite,
        sets=arguments.sets,
        out=arguments.out,
        engine=arguments.engine,
        devices=arguments.devices,
        jobs_per_device=arguments.jobs_per_device,
        checkpoint_seconds=arguments.checkpoint_seconds,
        imports=arguments.imports,
        stall_minutes=arguments.stall,
        lease_seconds=EXPIRY_SECONDS if arguments.lease is None else arguments.lease,
        address=arguments.address or "",
        plan_only=arguments.plan_only,
        sinks=arguments.sinks,
    )
    if arguments.plan_only:
        work = f"latentbench work {shlex.quote(str(outcome.root))}"
        print(f"planned in {outcome.root}; on every machine: {work}")
        return 0
    return report(outcome)
