"""`latentbench check`: the contract checks alone. Torch-free."""

from __future__ import annotations

import argparse

from .eval_options import request, run_suite_of, tokenizer_options

HELP = "check what every task takes for granted of somebody else's tokenizer"
_SAMPLES = 8  # the contract reads four


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    tokenizer_options(command)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.display import printable
    from ...results.store import Store
    from ..evaluation import eval_suite

    procedural = arguments.data == "procedural"
    changes = {"data": {"samples": _SAMPLES, "val": _SAMPLES}} if procedural else {}
    suite = eval_suite(request(arguments, tasks=(), changes=changes), name="check")
    outcome = run_suite_of(suite, arguments)
    store = Store(outcome.root)
    lines: list[str] = []
    for planned in outcome.cells:
        name = printable(planned.cell.label)
        if "contract" not in planned.jobs:
            lines.append(f"{name}: a recipe, trained here: there is no contract to check")
            continue
        record = store.outcome(*planned.jobs["contract"].split("/"))
        if record is None or record.status != "finished":
            reason = record.error.message if record is not None and record.error is not None else "it was not reached"
            lines.append(f"{name}: failed: {printable(reason)}")
            continue
        lines.append(f"{name}:")
        for finding in record.extra["contract"]["findings"]:
            says = f": {printable(finding['says'])}" if finding["says"] else ""
            lines.append(f"  {finding['verdict']:<7} {finding['check']}{says}")
        lines += [f"  {m.name} {m.value:.3g} {m.unit}".rstrip() for m in record.metrics if m.value is not None]
    print("\n".join(lines))
    return 1 if outcome.failed else 0
