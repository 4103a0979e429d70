"""`latentbench plan`: what a suite would run. Torch-free."""

from __future__ import annotations

import argparse

from ...results.errors import one_line
from ..console import complain
from .options import suite_options

HELP = "show a suite's cells: TSR, elements, most bits, predicted cost; trains nothing"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    suite_options(command)
    command.add_argument("--format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..catalogue import plan_text
    from ..data_counts import planned_counts
    from ..imports import load_imports
    from ..plan import make_plan
    from ..progress import StderrConsole
    from ..suite import load_suite

    load_imports(arguments.imports)
    suite = load_suite(arguments.suite, arguments.sets)
    make_plan(suite, {})  # refuses what is wrong with the suite before the data are read
    fingerprints, counts = planned_counts(suite, StderrConsole())
    plan = make_plan(suite, fingerprints, {label: (known.train, known.val) for label, known in counts.items()})
    for warning in plan.warnings:
        complain(one_line(f"warning: {warning}"))
    print(plan_text(plan, arguments.format, counts))
    return 0
