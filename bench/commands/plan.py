"""`latentbench plan`: what a suite would run. Torch-free."""

from __future__ import annotations

import argparse

from ...results.errors import UserError, one_line
from ..console import complain
from .options import named_path, planned_devices, positive, probability, suite_options

HELP = "show a suite's cells: TSR, elements, most bits, predicted cost; trains nothing"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    suite_options(command)
    command.add_argument("--format", choices=("text", "json"), default="text")
    command.add_argument(
        "--out",
        metavar="DIR",
        type=named_path,
        help="the run's folder, whose jobs are learned from (default: runs/<suite>)",
    )
    command.add_argument(
        "--devices",
        type=planned_devices,
        default="auto",
        help="hours on auto, cpu, cuda, or cuda:0,1; or on 8x80, eight GPUs of 80 GB elsewhere (default: auto)",
    )
    command.add_argument(
        "--measure",
        action="store_true",
        help="measure each step's memory and FLOPs (by shapes alone) and not guess them",
    )
    command.add_argument(
        "--score",
        metavar="SCORE.json",
        type=named_path,
        help="also which tokenizers deserve a full prior, by a score that `calibrate --fit-score` wrote and by what "
        "--out has of their proxies",
    )
    command.add_argument("--best", metavar="K", type=positive, help="with --score: how many (default: 3)")
    command.add_argument(
        "--risk",
        metavar="P",
        type=probability,
        help="with --score: how often a tokenizer may be left out wrongly for the best outcome so far (default: 0.1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.store import Store
    from .. import hardware
    from ..catalogue import plan_text
    from ..data_counts import planned_counts
    from ..datasets import default_cache
    from ..footprints import Footprints
    from ..imports import load_imports
    from ..plan import make_plan
    from ..plan_cost import measure_all, plan_cost
    from ..progress import StderrConsole
    from ..runner import make_cache, output_folder
    from ..suite import load_suite

    for option in ("best", "risk"):
        if arguments.score is None and getattr(arguments, option) is not None:
            raise UserError(f"--{option}: is about --score; give it too")
    imports = load_imports(arguments.imports)
    suite = load_suite(arguments.suite, arguments.sets)
    make_plan(suite, {})  # refuses what is wrong with the suite before the data are read
    fingerprints, counts = planned_counts(suite, StderrConsole())
    plan = make_plan(suite, fingerprints, {label: (known.train, known.val) for label, known in counts.items()})
    for warning in plan.warnings:
        complain(one_line(f"warning: {warning}"))
    machine = hardware.planned_machine(arguments.devices)
    if machine.note:
        complain(one_line(f"warning: {machine.note}"))
    root, cache = output_folder(arguments.out, suite), default_cache()
    table = Footprints(root, cache=cache if cache.is_dir() else None)
    if arguments.measure:
        make_cache(cache)  # where what is measured stays: a plan makes no folder for a run
        table = Footprints(root, cache=cache)
        device = machine.devices[0].name.partition(":")[0]
        for line in measure_all(plan.jobs, device, table, imports):
            complain(one_line(line))
    cost = plan_cost(plan.jobs, machine, Store(root), table)
    advice = None
    if arguments.score is not None:
        from ..plan_score import advise

        best, risk = arguments.best or 3, 0.1 if arguments.risk is None else arguments.risk
        advice = advise(plan, arguments.score, Store(root), cost, best=best, risk=risk)
    print(plan_text(plan, arguments.format, counts, cost, advice))
    return 0
