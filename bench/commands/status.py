"""`latentbench status`: what has become of a run's jobs. Torch-free."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..status import Status

HELP = "what has become of a run's jobs, what they cost so far, and how long it will still take"
_FAILED = 10  # that are shown


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    from .options import seconds

    command.add_argument("dir", metavar="DIR", type=Path, help="the run's --out folder")
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument("--live", action="store_true", help="again and again, until all is done or Ctrl-C")
    command.add_argument("--every", type=seconds, default=2.0, metavar="S", help="with --live (default: 2 seconds)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where jobs have failed."""
    from rich.console import Console
    from rich.live import Live

    from ..status import status, to_json

    found = status(arguments.dir)
    if arguments.json:
        print(json.dumps(to_json(found), indent=2))
    elif not arguments.live:
        Console().print(_shown(found), soft_wrap=True, highlight=False)
    else:
        with Live(_shown(found), auto_refresh=False) as live:
            while found.waiting or found.running:
                time.sleep(arguments.every)
                found = status(arguments.dir)
                live.update(_shown(found), refresh=True)
    return 1 if found.failed else 0


def _shown(found: Status) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from ...results.display import printable
    from ...results.errors import one_line
    from ..forecast import clock

    counts = {"finished": found.finished, "running": len(found.running), "waiting": found.waiting}
    counts |= {"failed": len(found.failed) - found.cancelled, "cancelled": found.cancelled}
    counts |= {"skipped": found.skipped, "damaged": found.damaged}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "finished")
    lines = [f"{found.jobs} jobs: {told}"]
    left = "" if found.left is None or not found.left else f"; about {clock(found.left)} left (hours:minutes)"
    lines.append(f"{clock(found.seconds)} of work so far{left}")
    for host, devices in found.devices.items():
        at = [run for run in found.running if run.host == host]
        used = {device: sum(run.device == device for run in at) for device in devices}
        lines.append(f"{host}: " + ", ".join(f"{name} {used[name]} of {units}" for name, units in devices.items()))
    for run in found.running:
        share = f" {100 * run.done // run.total} %" if run.total else ""
        where = f" on {run.host} {run.device}" if run.host else ""
        lines.append(f"  running {run.title}{where}{share} {run.message}".rstrip())
    for job, facts in list(found.failed.items())[:_FAILED]:
        lines.append(f"  failed {facts['title']} [{job}]: {facts['cause']}")
    if len(found.failed) > _FAILED:
        lines.append(f"  and {len(found.failed) - _FAILED} more that failed; all of them: --json")
    indents = ("  " if line.startswith("  ") else "" for line in lines)
    return Group(*(Text(indent + printable(one_line(line))) for indent, line in zip(indents, lines, strict=True)))
