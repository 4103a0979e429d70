"""Running a suite: plan it, do what has no valid record, and tell how it went. Torch-free."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from ..results.activity import last_log
from ..results.display import counted, printable, were
from ..results.errors import UserError, one_line
from ..results.garbage import no_collections
from ..results.index import Outlined, outcomes, refuse_newer
from ..results.record import is_cancelled
from ..results.store import RECORD, Store, remove_leftovers
from ..tokenizers.registry import recorded_lookups
from .data_counts import DataCounts, check_counts, count, fingerprints, recorded
from .datasets import damage_of_cached, default_cache
from .engines import engines
from .engines.interface import EXPIRY_SECONDS, Engine, EngineSettings
from .folder_lock import locked
from .footprints import Footprints, measured_ratios, sized, subject, worth_measuring
from .gates import forget_partial, keep_score, left_out
from .imports import Import, load_imports, refuse_unrepeatable
from .jobs import Job
from .kinds import kinds
from .launcher import launched
from .plan import Plan, make_plan
from .plan_file import write_plan
from .planned_cell import PlannedCell
from .progress import Display, StderrConsole
from .sinks.feed import Feed, check_sinks
from .suite import Suite, load_suite
from .worker_protocol import clean_attempt, drop_continued

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: where its records are, and how many jobs were done before, finished, failed, skipped, left out
    by gates, cancelled meanwhile; `logs` are those of the failed ones, `cells` what was asked for."""

    suite: Suite
    root: Path
    before: int
    finished: int
    failed: int
    skipped: int
    left_out: int = 0
    cancelled: int = 0
    logs: tuple[Path, ...] = ()
    cells: tuple[PlannedCell, ...] = ()


def run_suite(
    suite: str | Path | Mapping[str, Any],
    *,
    sets: Sequence[str] = (),
    out: str | Path | None = None,
    engine: str = "local",
    devices: str = "auto",
    jobs_per_device: int | None = None,
    checkpoint_seconds: float = 30.0,
    imports: Sequence[str] = (),
    stall_minutes: float | None = None,
    lease_seconds: float = EXPIRY_SECONDS,
    address: str = "",
    plan_only: bool = False,
    console: Console | None = None,
    extend: bool = False,
    sinks: Sequence[str] = (),
) -> Outcome:
    """Run `suite` (a shipped name, a file or a mapping) to the end, or go on with it.

    `sets` are changes like `--set`; records go to `out` (default `runs/<suite>`). Jobs with a valid record whose files
    have their digests are not done again; failed ones are. `imports` are modules or files that register parts of the
    user's own, for this process and for workers; a job without a sign of life for `stall_minutes` is started again,
    and a machine without one for `lease_seconds` loses its jobs to the others that work on the folder (engine
    "leases"). With `plan_only` such a run leaves all of the work to them. `address` is that of a Ray cluster (engine
    "ray"). `extend` leaves the cells that a suite of this name has in `out` already beside the new ones. `sinks` are
    told of curves and metrics as they come (docs/sinks.md). Raises UserError for anything the user can mend, before
    anything is trained.
    """
    console = console or StderrConsole()
    imported = load_imports(imports)
    loaded = load_suite(suite, sets)
    make_engine = engines.get(engine, where="--engine")
    settings = EngineSettings(
        store=Store(output_folder(out, loaded)),
        cache=default_cache(),
        devices=devices,
        jobs_per_device=jobs_per_device,
        checkpoint_seconds=checkpoint_seconds,
        imports=imported,
        stall_seconds=None if stall_minutes is None else 60 * stall_minutes,
        lease_seconds=lease_seconds,
        address=address,
    )
    runner: Engine = make_engine(settings)
    if plan_only and not runner.shares:
        raise UserError(f"--plan-only: the engine {engine} leaves no work to others; use --engine leases")
    _check(loaded, imported)
    check_sinks(sinks)
    make_cache(settings.cache)
    with locked(settings.store.root, shared=runner.shares):
        return _run_locked(loaded, engine, runner, console, plan_only=plan_only, extend=extend, sinks=sinks)


def _run_locked(
    suite: Suite,
    engine: str,
    runner: Engine,
    console: Console,
    *,
    plan_only: bool,
    extend: bool,
    sinks: Sequence[str],
) -> Outcome:
    """Plan the suite and do what is left of it, in a folder that is locked."""
    store, cache = runner.settings.store, runner.settings.cache
    prints = fingerprints(suite, console, cache)
    plan = make_plan(suite, prints)
    ended = outcomes(store, plan.jobs, verify=True)
    refuse_newer(store, ended.unread)
    if not extend:
        _write_suite(store, plan, extend=False)
    keep_score(suite, store, console)
    write_plan(plan, engine, runner.settings)
    if extend:  # after the plan, which lacks the jobs of other cells (see `status.jobs_of`)
        _write_suite(store, plan, extend=True)
    runner.finished = _intact(store, plan.jobs, ended, console)
    for name in forget_partial(store, runner.finished):
        del runner.finished[name]
    before = len(runner.finished)
    todo = {name: job for name, job in plan.jobs.items() if name not in runner.finished}
    decided = without_left_out(todo, runner.finished, store, console)
    if not plan_only:
        if (launch := launched()) is not None:
            launch.check(todo.values())
        runner.check(todo.values())
        todo = sized_for(runner, todo, plan.jobs, console)
    if todo:
        _check_cached(suite, prints, console, cache)
        _tell_counts(plan, todo, store, console, cache)
    for warning in plan.warnings if todo else ():
        console.print(Text(one_line(f"warning: {warning}")), soft_wrap=True)
    if runner.shares:
        _forget_failures(store, todo.values(), console, spare_cancelled=plan_only)
    _tidy(store, runner.finished.values(), shared=runner.shares)
    outcome = Outcome(
        suite=suite, root=store.root, before=before, finished=0, failed=0, skipped=0, left_out=decided, cells=plan.cells
    )
    if plan_only:
        console.print(Text(f"{counted(len(todo), 'job')} to do, {before} finished already"), soft_wrap=True)
        return outcome
    feed = Feed(sinks, run=suite.name, store=store, console=console)
    display = executed(runner, plan.jobs, todo, console, before=before, feed=feed)
    _tell_skipped(plan, store, console)
    return replace(
        outcome,
        finished=display.finished,
        failed=display.failed,
        cancelled=display.cancelled,
        skipped=display.skipped,
        left_out=display.left_out + decided,
        logs=tuple(display.logs),
    )


def run(
    suite: str | Path | Mapping[str, Any],
    *,
    sets: Sequence[str] = (),
    out: str | Path | None = None,
    engine: str = "local",
    devices: str = "auto",
    jobs_per_device: int | None = None,
    imports: Sequence[str] = (),
    sinks: Sequence[str] = (),
) -> pandas.DataFrame:
    """Run `suite` and return its records as a frame, one row per cell (see docs/leaderboard.md for the columns).

    `suite` is a shipped name, a TOML file or a mapping of the same shape; `sets` are changes like those of `--set`. The
    other options are those of `latentbench run`: `out` the folder of records (by default `runs/<suite>`), where a run
    that was stopped goes on; `imports` the modules, or files that end in `.py`, which register parts of your own;
    `sinks` those that are told of curves and metrics as they come. A job that fails is a row with its cause. Raises
    UserError for what the suite or its data lack.
    """
    from ..results.rows import frame, rows

    outcome = run_suite(
        suite,
        sets=sets,
        out=out,
        engine=engine,
        devices=devices,
        jobs_per_device=jobs_per_device,
        imports=imports,
        sinks=sinks,
    )
    return frame([row for row in rows([outcome.root]) if row["suite"] == outcome.suite.name])


def output_folder(out: str | Path | None, suite: Suite) -> Path:
    """Where records go; raises UserError for a name that no folder can have."""
    if out is not None and not str(out).strip():
        raise UserError("--out: expected a folder's name, got nothing")
    root = Path(out) if out is not None else Path("runs") / suite.name
    if not str(root).isascii() and str(root) != str(root).encode("utf-8", "replace").decode():
        # Files of tensors (safetensors) can't be opened by such a path.
        raise UserError(f"--out {printable(str(root))}: its name is not valid UTF-8; choose another folder")
    return root


def _check(suite: Suite, imported: Sequence[Import]) -> None:
    """Refuse what is wrong with the suite, and parts that workers can't import, before the data are read."""
    with recorded_lookups() as lookups:
        make_plan(suite, {})
    refuse_unrepeatable(lookups, imported)


def _write_suite(store: Store, plan: Plan, *, extend: bool) -> None:
    claims = [asdict(claim) for claim in plan.suite.claims]
    names = [kind.name for kind in kinds()]
    planned = [p.to_json() for p in plan.cells]
    others = _others(store, plan.suite.name, planned) if extend else []
    store.write_suite(plan.suite.name, [*others, *planned], kinds=names, claims=claims)


def executed(
    runner: Engine,
    jobs: Mapping[str, Job],
    todo: dict[str, Job],
    console: Console,
    *,
    before: int,
    feed: Feed | None = None,
) -> Display:
    """Those of `jobs` that are in `todo`, executed and shown. One that turns out to be damaged joins them. A
    `feed` is told of the events, and closed."""
    store = runner.settings.store
    for line in runner.notes if todo else ():
        console.print(Text(line), soft_wrap=True)
    display = Display(
        console=console,
        jobs=todo,
        total=len(todo),
        before=before,
        log_of=lambda job: last_log(store.job_folder(job.kind, job.key)),
    )
    with feed or nullcontext(), closing(runner.run(dict(todo))) as events, display:
        for event in events:
            if event.job not in todo:  # it was finished
                todo[event.job] = jobs[event.job]
                display.total, display.before = display.total + 1, display.before - 1
            display.see(event)
            if feed is not None:
                feed.see(event, todo[event.job])
    return display


def sized_for(runner: Engine, todo: dict[str, Job], jobs: Mapping[str, Job], console: Console) -> dict[str, Job]:
    """Those of `jobs` that are in `todo`, with the memory that their steps take of the engine's device: measured where
    a guess might be far too low."""
    store, device = runner.settings.store, runner.device
    table = Footprints(store.root, cache=runner.settings.cache)
    unknown = [item for job in worth_measuring(todo).values() if (item := subject(job, jobs, device))]
    with console.status("measuring what steps take"):
        for _ in table.measure(unknown, runner.settings.imports):
            pass
    ratios = measured_ratios(store, jobs, runner.finished.values(), table, device=device)
    return sized(todo, jobs, table, device=device, ratios=ratios)


def without_left_out(todo: dict[str, Job], finished: Mapping[str, Job], store: Store, console: Console) -> int:
    """Take from `todo` what gates have left out already, say so, and return how many these are."""
    decided = left_out(todo, finished, store)
    for name in decided:
        del todo[name]
    for why, jobs in Counter(decided.values()).items():
        console.print(Text(one_line(f"{counted(jobs, 'job')} left out: {why}")), soft_wrap=True)
    return len(decided)


def _others(store: Store, suite: str, cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cells that the suite has there already, without those of the same name and tokenizer as one of `cells`."""
    new = {(cell["cell"], cell["jobs"].get("tokenizer")) for cell in cells}
    stored = [cell for known in store.read_suites() if known["suite"] == suite for cell in known["cells"]]
    return [dict(cell) for cell in stored if (cell["cell"], cell["jobs"].get("tokenizer")) not in new]


def make_cache(cache: Path) -> None:
    """Make the folder of decoded data sets. Raises UserError."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the cache {cache} can't be written: {error.strerror}; set LATENTBENCH_CACHE to another folder"
        raise UserError(message) from None


def _tell_counts(plan: Plan, todo: Mapping[str, Job], store: Store, console: Console, cache: Path) -> None:
    """Say what the data sets that are still to be used consist of, before anything is trained.

    A data set whose job is done has its counts in the job's record. Raises UserError for one too small to be measured.
    """
    counts: dict[str, DataCounts] = {}
    for planned in plan.cells:
        data, job = planned.cell.data, plan.jobs[planned.jobs["data"]]
        if data.label in counts or not {*planned.jobs.values()} & todo.keys():
            continue
        if job.id in todo:
            known = count(data, cache=cache, fingerprint=job.config["fingerprint"], console=console)
        else:
            known = recorded(store.load(job.kind, job.key))
        if known is not None:
            counts[data.label] = known
    check_counts(plan.suite, counts)
    for label, known in counts.items():
        if known.files:
            console.print(Text(f"{printable(label)}: {known.text}"), soft_wrap=True)


@no_collections()
def _intact(store: Store, jobs: Mapping[str, Job], ended: Outlined, console: Console) -> dict[str, Job]:
    """The jobs that are finished, and whose artifacts are, bit for bit, what their records say.

    The records of others are discarded: a damaged one would pass into the numbers of all that read it. Each is named.
    """
    tell_damaged(jobs, ended, store, console)
    holding = {name: ended[name] for name in ended.holding}
    with console.status("checking what is finished"), ThreadPoolExecutor() as pool:
        damages = zip(holding, pool.map(store.damage, holding.values()), strict=True)
        damaged = {name: damage for name, damage in damages if damage is not None}
    for name, damage in damaged.items():
        store.discard(holding[name])
        console.print(Text(f"damaged {jobs[name].title}: {damage}; it is done again"), soft_wrap=True)
    return {name: jobs[name] for name in ended.finished if name not in damaged}


def tell_damaged(jobs: Mapping[str, Job], ended: Outlined, store: Store, console: Console) -> None:
    """Name those of the jobs that are to be done again since their records can't be read, or lack their files."""
    for name, why in {**{job: state.cause for job, state in ended.unread.items()}, **ended.incomplete}.items():
        where = store.job_folder(jobs[name].kind, jobs[name].key)
        where = where / RECORD if name in ended.unread else where
        line = f"damaged {printable(jobs[name].title)}: {where}: {why}; it is done again"
        console.print(Text(one_line(line)), soft_wrap=True)


def _check_cached(suite: Suite, fingerprints: Mapping[str, str], console: Console, cache: Path) -> None:
    """Read what is decoded already once, whole, so that no job computes with a damaged sample."""
    for data in suite.data:
        with console.status(Text(f"checking {data.label}")):
            damage = damage_of_cached(data, cache=cache, fingerprint=fingerprints[data.label])
        if damage is not None:
            console.print(Text(f"damaged {data.label} in the cache: {damage}; it is decoded again"), soft_wrap=True)


def _tidy(store: Store, finished: Iterable[Job], *, shared: bool) -> None:
    """Remove what a killed run has left: its last job may have died right after its record was written."""
    if not shared:  # others may be writing their suites
        remove_leftovers(store.suite_path("").parent)
    for job in finished:
        clean_attempt(store.job_folder(job.kind, job.key), shared=shared)
        drop_continued(job, store)


def _forget_failures(store: Store, jobs: Iterable[Job], console: Console, *, spare_cancelled: bool) -> None:
    """Remove the records of what has failed, so that it is done again, by whoever takes it first. Who only plans spares
    what was cancelled, and says so."""
    spared = 0
    for job in jobs:
        record = store.load_any(job.kind, job.key)
        if record is None or record.status != "failed":
            continue
        if spare_cancelled and is_cancelled(record):
            spared += 1
        else:
            store.discard(record)
    if spared:
        line = f"{counted(spared, 'job')} {'stays' if spared == 1 else 'stay'} cancelled; "
        line += f"`latentbench retry {shlex.quote(str(store.root))} --failed` has all that failed or was cancelled done"
        console.print(Text(line), soft_wrap=True)


def _tell_skipped(plan: Plan, store: Store, console: Console) -> None:
    """Name the files that could not be used, so that nobody has to find them in a log."""
    for job in plan.jobs.values():
        if job.kind != "data":
            continue
        record = store.load(job.kind, job.key)
        skipped = record.extra.get("skipped", []) if record else []
        if skipped:
            lines = [f"{job.title}: {counted(len(skipped), 'file')} {were(len(skipped))} skipped:"]
            lines += [f"  {item['file']}: {item['reason']}" for item in skipped[:10]]
            if len(skipped) > 10:
                lines.append(f"  and {len(skipped) - 10} more: see {store.job_folder(job.kind, job.key)}")
            for line in lines:
                console.print(Text(f"{' ' * (len(line) - len(line.lstrip()))}{printable(line)}"), soft_wrap=True)
