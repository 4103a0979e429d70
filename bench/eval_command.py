"""The commands `eval` and `check`: any tokenizer, on any data, from the command line. Torch-free."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..results.display import printable
from ..results.store import Store
from ..tokenizers.spec import Modality
from .evaluation import SUITE, EvalRequest, eval_suite
from .runner import Outcome, run_suite

_CHECK_SAMPLES = 8  # the contract reads four


def check_options(command: argparse.ArgumentParser) -> None:
    """What `check` takes; `eval` takes it too."""
    command.add_argument("tokenizer", metavar="TOKENIZER", help="ADAPTER:PATH, as diffusers:models/vae; or a recipe")
    command.add_argument("--data", default="procedural", metavar="FOLDER|SOURCE", help="default: procedural")
    command.add_argument("--modality", choices=[str(m) for m in Modality], help="where the tokenizer takes several")
    command.add_argument("--size", type=int, metavar="N", help="pixels a side (default: 256)")
    command.add_argument("--frames", type=int, metavar="N", help="frames of a clip")
    command.add_argument("--seconds", type=float, metavar="S", help="seconds of a sound")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="sets",
        help="tokenizer.bandwidth=6 sets an option of the adapter; others change the suite: data.val=64",
    )
    command.add_argument("--spec", metavar="FILE.toml", help="what the tokenizer does not say of itself")
    command.add_argument("--label", default="", help="what it is called in tables")
    command.add_argument("--allow-download", action="store_true", help="fetch a name of the Hugging Face hub")
    command.add_argument("--trust-pickle", action="store_true", help="read weights that are pickles")
    command.add_argument("--out", metavar="DIR", type=Path, help=f"where records go (default: runs/{SUITE})")
    command.add_argument("--engine", default="local", help="where jobs run (default: local)")
    command.add_argument("--devices", default="auto", help="auto, cpu, cuda, or cuda:0,1 (default: auto)")


def _request(arguments: argparse.Namespace, **changes: Any) -> EvalRequest:
    texts = ("tokenizer", "data", "modality", "size", "frames", "seconds", "sets", "spec", "label")
    names = (*texts, "allow_download", "trust_pickle")
    return EvalRequest(**{name: getattr(arguments, name) for name in names} | changes)


def run_eval(arguments: argparse.Namespace) -> Outcome:
    """Run the tokenizer's suite, beside what the output folder has already."""
    return _run(eval_suite(_request(arguments)), arguments)


def run_check(arguments: argparse.Namespace) -> tuple[str, bool]:
    """Run the contract checks alone; the text that says what they gave, and whether all is well."""
    procedural = arguments.data == "procedural"
    changes = {"data": {"samples": _CHECK_SAMPLES, "val": _CHECK_SAMPLES}} if procedural else {}
    suite = eval_suite(_request(arguments, tasks=(), changes=changes), name="check")
    outcome = _run(suite, arguments)
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
    return "\n".join(lines), not outcome.failed


def _run(suite: dict[str, Any], arguments: argparse.Namespace) -> Outcome:
    return run_suite(
        suite,
        out=arguments.out if arguments.out is not None else Path("runs") / suite["name"],
        engine=arguments.engine,
        devices=arguments.devices,
        imports=arguments.imports,
        extend=True,
    )
