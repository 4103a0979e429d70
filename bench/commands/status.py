"""`latentbench status`: what has become of a run's jobs. Torch-free."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .options import named_path

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..status import Status

HELP = "what has become of a run's jobs, what they cost so far, and how long it will still take"
_EVERY = 2.0  # seconds
_FAILED = 10  # that are shown


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    from .options import pause

    command.add_argument("dir", metavar="DIR", type=named_path, help="the run's --out folder")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="for programs")
    how.add_argument("--live", action="store_true", help="again and again, until all is done or Ctrl-C")
    command.add_argument("--every", type=pause, metavar="S", help="with --live (default: 2 seconds)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where jobs have failed."""
    from ...results.errors import UserError
    from ..status import status, to_json

    if arguments.every is not None and not arguments.live:
        raise UserError("--every: is about --live; give it too")
    current = status(arguments.dir)
    if arguments.json:
        print(json.dumps(to_json(current), indent=2))
    elif arguments.live:
        current = _followed(current, arguments.dir, _EVERY if arguments.every is None else arguments.every)
    else:
        print("\n".join(_lines(current)))
    return 1 if len(current.failed) > current.cancelled else 0


def _followed(current: Status, root: Path, every: float) -> Status:
    """Show it again and again until all is done, and return the last."""
    from rich.live import Live

    from ..status import status

    with Live(_shown(current), auto_refresh=False) as live:
        while current.waiting or current.running:
            time.sleep(every)
            current = status(root)
            live.update(_shown(current), refresh=True)
    return current


def _shown(current: Status) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    return Group(*map(Text, _lines(current)))


def _lines(current: Status) -> list[str]:
    from ...results.display import counted, printable
    from ...results.errors import one_line
    from ..forecast import clock

    counts = {"finished": current.finished, "running": len(current.running), "waiting": current.waiting}
    counts |= {"failed": len(current.failed) - current.cancelled, "cancelled": current.cancelled}
    counts |= {"skipped": current.skipped, "left out": sum(current.left_out.values()), "damaged": current.damaged}
    counts |= {"of a newer latentbench": current.newer}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "finished")
    lines = [f"{counted(current.jobs, 'job')}: {told}"]
    left = "" if current.left is None or not current.left else f"; about {clock(current.left)} left (hours:minutes)"
    cost = f"{clock(current.seconds + current.running_seconds)} of work so far"
    cost += f" ({clock(current.running_seconds)} of it by jobs at work)" if current.running else ""
    lines.append(cost + left)
    lines += [current.note] if current.note else []
    for host, devices in current.devices.items():
        at = [run for run in current.running if run.host == host]
        used = {device: sum(run.device == device for run in at) for device in devices}
        lines.append(f"{host}: " + ", ".join(f"{name} {used[name]} of {units}" for name, units in devices.items()))
    for run in current.running:
        share = f" {100 * run.done // run.total} %" if run.total else ""
        where = f" on {run.host} {run.device}" if run.host else ""
        lines.append(f"  running {run.title}{where}{share} {run.message}".rstrip())
    failed = {job: facts for job, facts in current.failed.items() if job not in current.cancelled_jobs}
    for job, facts in list(failed.items())[:_FAILED]:
        lines.append(f"  failed {facts['title']} [{job}]: {facts['cause']}")
    if len(failed) > _FAILED:
        lines.append(f"  and {len(failed) - _FAILED} more that failed; all of them: --json")
    lines += [f"  cancelled {facts['title']} [{job}]" for job, facts in list(current.cancelled_jobs.items())[:_FAILED]]
    if current.cancelled > _FAILED:
        lines.append(f"  and {current.cancelled - _FAILED} more that were cancelled; all of them: --json")
    for facts in list(current.unread.values())[:_FAILED]:
        what = "damaged" if facts["status"] == "damaged" else "of a newer latentbench"
        lines.append(f"  {what} {facts['title']}: {facts['record']}: {facts['cause']}")
    if len(current.unread) > _FAILED:
        lines.append(f"  and {len(current.unread) - _FAILED} more that can't be read; all of them: --json")
    lines += [f"  left out {counted(count, 'job')}: {why}" for why, count in current.left_out.items()]
    indents = ("  " if line.startswith("  ") else "" for line in lines)
    return [indent + printable(one_line(line)) for indent, line in zip(indents, lines, strict=True)]
