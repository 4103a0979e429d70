"""Joining a run whose folder is shared: doing, beside others, what its plans have left to do. Torch-free."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..results.errors import UserError
from ..results.index import outcomes, refuse_newer
from ..results.store import Store
from .datasets import default_cache
from .engines.interface import EngineSettings
from .engines.leases import LeaseEngine
from .folder_lock import locked
from .imports import repeat_imports
from .plan_file import PlanFile, joined_imports, joined_jobs, joined_settings, read_plans
from .progress import StderrConsole
from .runner import executed, make_cache, sized_for, tell_damaged, without_left_out
from .sinks.feed import Feed, check_sinks


@dataclass(frozen=True, kw_only=True)
class Joined:
    """How many jobs were finished, failed, cancelled and skipped while this process took part, by whomever."""

    finished: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0


def join(
    root: Path,
    *,
    devices: str = "auto",
    jobs_per_device: int | None = None,
    console: Console | None = None,
    sinks: Sequence[str] = (),
) -> Joined:
    """Do what is left of the plans in `root`, together with all others who do, until nothing is.

    `sinks` are told of what this process does (docs/sinks.md).

    Raises UserError for a folder without a plan, and for what `run_suite` refuses.
    """
    console = console or StderrConsole()
    store, cache = Store(root), default_cache()
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected the --out folder of a run")
    check_sinks(sinks)
    make_cache(cache)
    total = Joined()
    settled: set[str] = set()
    with locked(root, shared=True, option=""):
        while True:
            plans = _shared(root, read_plans(store))
            imports = joined_imports(plans)
            repeat_imports(imports)
            jobs = joined_jobs(plans)
            # Verified, since a network disk may tell an old time of a record, but not an old content.
            ended = outcomes(store, jobs, verify=True)
            refuse_newer(store, ended.unread)
            finished = {name: jobs[name] for name in ended.finished}
            tell_damaged(jobs, ended, store, console)
            todo = {name: job for name, job in jobs.items() if name not in finished and name not in settled}
            without_left_out(todo, finished, store, console)
            if not todo:
                return total
            own: dict[str, Any] = {"devices": devices, "jobs_per_device": jobs_per_device, "imports": imports}
            settings = EngineSettings(store=store, cache=cache, **joined_settings(plans), **own)
            engine = LeaseEngine(settings)
            engine.finished = finished
            todo = sized_for(engine, todo, jobs, console)
            feed = Feed(sinks, run=root.name, store=store, console=console)
            display = executed(engine, jobs, todo, console, before=len(finished), feed=feed)
            settled |= todo.keys()
            total = Joined(
                finished=total.finished + display.finished,
                failed=total.failed + display.failed,
                skipped=total.skipped + display.skipped,
                cancelled=total.cancelled + display.cancelled,
            )


def _shared(root: Path, plans: list[PlanFile]) -> list[PlanFile]:
    """Those plans that others may work on. Raises UserError where there is none."""
    shared = [plan for plan in plans if plan.engine == "leases"]
    if not shared:
        command = f"latentbench run SUITE --engine leases --out {shlex.quote(str(root))}"
        raise UserError(f"{root}: no plan to join; `{command}` writes one")
    return shared
