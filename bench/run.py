"""Running a suite: plan it, do what has no valid record, and tell how it went. Torch-free."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ..results.errors import UserError
from ..results.store import Store, remove_leftovers
from . import hardware
from .datasets import default_cache, fingerprint
from .engines import engines
from .jobs import KINDS, Job
from .plan import Plan, make_plan
from .progress import Display, StderrConsole
from .suite import Suite, load_suite
from .worker_protocol import clean_attempt

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: where its records are, and how many jobs were done before, finished, failed, skipped."""

    suite: Suite
    root: Path
    before: int
    finished: int
    failed: int
    skipped: int


def run_suite(
    suite: str | Path | Mapping[str, Any],
    *,
    sets: Sequence[str] = (),
    out: str | Path | None = None,
    engine: str = "local",
    devices: str = "auto",
    jobs_per_device: int | None = None,
    checkpoint_seconds: float = 30.0,
    console: Console | None = None,
) -> Outcome:
    """Run `suite` (a shipped name, a file or a mapping) to the end, or go on with it.

    `sets` are changes like `--set`; records go to `out` (default `runs/<suite>`). Jobs with a valid record are not
    done again; failed ones are. Raises UserError for anything the user can mend, before anything is trained.
    """
    console = console or StderrConsole()
    loaded = load_suite(suite, sets)
    make_engine = engines.get(engine, where="--engine")
    machine = hardware.machine(devices, jobs_per_device=jobs_per_device)
    make_plan(loaded, {})  # refuses what is wrong with the suite before the data are read
    root = Path(out) if out is not None else Path("runs") / loaded.name
    cache = default_cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the cache {cache} can't be written: {error.strerror}; set LATENTBENCH_CACHE to another folder"
        raise UserError(message) from None
    with _locked(root):
        plan = make_plan(loaded, _fingerprints(loaded, console, cache))
        store = Store(root)
        claims = [asdict(claim) for claim in loaded.claims]
        store.write_suite(loaded.name, [p.to_json() for p in plan.cells], kinds=KINDS, claims=claims)
        todo = {name: job for name, job in plan.jobs.items() if store.load(job.kind, job.key) is None}
        _tidy(store, [job for name, job in plan.jobs.items() if name not in todo])
        before = len(plan.jobs) - len(todo)
        display = Display(console=console, jobs=todo, total=len(todo), before=before)
        runner = make_engine(store=store, machine=machine, cache=cache, checkpoint_seconds=checkpoint_seconds)
        events = runner.run(todo)
        try:
            with display:
                for event in events:
                    display.see(event)
        finally:
            events.close()
        _tell_skipped(plan, store, console)
    return Outcome(
        suite=loaded,
        root=root,
        before=before,
        finished=display.finished,
        failed=display.failed,
        skipped=display.skipped,
    )


def run(
    suite: str | Path | Mapping[str, Any],
    *,
    sets: Sequence[str] = (),
    out: str | Path | None = None,
    engine: str = "local",
    devices: str = "auto",
    jobs_per_device: int | None = None,
) -> pandas.DataFrame:
    """Run `suite` and return its records as a frame, one row per cell (see docs/leaderboard.md for the columns)."""
    from ..results.rows import frame, rows

    outcome = run_suite(suite, sets=sets, out=out, engine=engine, devices=devices, jobs_per_device=jobs_per_device)
    return frame([row for row in rows([outcome.root]) if row["suite"] == outcome.suite.name])


def _fingerprints(suite: Suite, console: Console, cache: Path) -> dict[str, str]:
    found = {}
    for data in suite.data:
        with console.status(f"reading {data.label}"):  # shows nothing where there is no terminal
            found[data.label] = fingerprint(data, cache=cache)
    return found


def _tidy(store: Store, finished: Iterable[Job]) -> None:
    """Remove what a killed run has left: its last job may have died right after its record was written."""
    remove_leftovers(store.suite_path("").parent)
    for job in finished:
        clean_attempt(store.job_folder(job.kind, job.key))


def _tell_skipped(plan: Plan, store: Store, console: Console) -> None:
    """Name the files that could not be used, so that nobody has to find them in a log."""
    for job in plan.jobs.values():
        if job.kind != "data":
            continue
        record = store.load(job.kind, job.key)
        skipped = record.extra.get("skipped", []) if record else []
        if skipped:
            console.print(f"{job.title}: {len(skipped)} files were skipped:", highlight=False)
            for item in skipped[:10]:
                console.print(f"  {item['file']}: {item['reason']}", highlight=False, soft_wrap=True, markup=False)
            if len(skipped) > 10:
                console.print(f"  and {len(skipped) - 10} more: see {store.job_folder(job.kind, job.key)}")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold `root` for this run: two runs at once would do the same jobs twice. The kernel frees it however we end."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("a")
    except OSError as error:
        raise UserError(f"--out {root}: can't be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"--out {root}: another run is using it; wait for it or choose another --out") from None
        yield
