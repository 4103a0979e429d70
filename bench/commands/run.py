"""`latentbench run`: run a suite, or go on with it. Torch-free."""

from __future__ import annotations

import argparse

from .options import positive, seconds, suite_options
from .output import report

HELP = "run a suite, or go on with it"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    suite_options(command)
    command.add_argument("--out", metavar="DIR", help="where records go (default: runs/<suite>)")
    command.add_argument("--engine", default="local", help="where jobs run (default: local)")
    command.add_argument("--devices", default="auto", help="auto, cpu, cuda, or cuda:0,1 (default: auto)")
    command.add_argument(
        "--jobs-per-device",
        type=positive,
        metavar="N",
        help="jobs at a time on each device (CPU: a core each; GPU: 4)",
    )
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


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..runner import run_suite

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
    )
    return report(outcome)
