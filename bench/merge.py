"""Several runs' folders made one: their records, and their suites' cells. Torch-free."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..results.board import board_path
from ..results.display import counted
from ..results.errors import UserError
from ..results.gates import is_partial
from ..results.record import InvalidRecord, NewerRecord, Record
from ..results.run_score import FILE as SCORE_FILE
from ..results.run_score import differing_pairs, score_files
from ..results.store import RECORD, Store, SuiteCell, SuiteFile, atomic_file, atomic_write
from .plan_file import PlanFile, joined_imports, joined_jobs, joined_settings, read_plan, refuse_newer, save_plan
from .plan_overview import plan_paths
from .training_log import CURVE
from .worker_protocol import CONFIG

_COPIES = 16  # jobs whose files are copied at once


class ConflictError(UserError):
    """Folders that are to be merged disagree: `conflicts` are the reasons, a line each."""

    def __init__(self, conflicts: Sequence[str]) -> None:
        super().__init__(f"cannot merge: {counted(len(conflicts), 'conflict')}; nothing was written")
        self.conflicts = tuple(conflicts)


@dataclass(kw_only=True)
class Merged:
    """How many records were `copied` and were there `already`; the jobs left out as `damaged`, and those of a `newer`
    version, each with its file and the reason; and the plans that could not be joined, by which nobody can `work`."""

    copied: int = 0
    already: int = 0
    damaged: list[str] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)


def boards_of(sources: Sequence[Path]) -> list[Path]:
    """The boards that `sources` are, or [] if all are else. Raises UserError for boards and folders of runs at once."""
    boards = [board for source in sources if (board := board_path(source)) is not None]
    if boards and len(boards) < len(sources):
        other = next(source for source in sources if board_path(source) is None)
        if not os.path.isdir(other):
            raise UserError(f"{other}: no such file or folder; expected a board, as {boards[0]} is")
        raise UserError(
            f"{boards[0]}: is a board, which has numbers and no records, and {other} is none; "
            "`latentbench publish DIR... --out SITE` makes one board of both"
        )
    return boards


def merge(sources: Sequence[Path], out: Path) -> Merged:
    """Copy into `out` what `sources` have; of a job that several have done, the first one's record, and a finished one
    before a failed one; and the `score.json` of those that have one.

    Raises ConflictError, before anything is written, where two of them, or what is in `out` already, disagree: two
    records of one job with other numbers, a suite's cell with other jobs, a claim with other words, or two scores.
    Raises UserError for what is no folder, and for a board (`merge_boards` takes those).
    """
    if boards := boards_of(sources):
        raise UserError(
            f"{boards[0]}: is a board, which has numbers and no records; expected the --out folder of a run"
        )
    stores = [Store(source) for source in sources]
    for store in stores:
        if not store.root.is_dir():
            raise UserError(f"{store.root}: no such folder; expected the --out folder of a run")
        if not store.read_suites() and next(store.folders(), None) is None:
            raise UserError(f"{store.root}: no run has been planned here; expected the --out folder of a run")
        if out.exists() and out.resolve() == store.root.resolve():
            raise UserError(f"--out {out}: is one of those that are merged; choose another folder")
    target, merged = Store(out), Merged()
    chosen, conflicts = _records([target, *stores], merged)
    suites, others = _suites([target, *stores])
    scores = score_files(store.root for store in [target, *stores])
    conflicts += others
    conflicts += [
        f"{SCORE_FILE} is another score in {first.parent} and in {other.parent}"
        for first, other in differing_pairs(scores)
    ]
    if conflicts:
        raise ConflictError(conflicts)
    plans, complete = _plans([target, *stores], merged)
    copied = [(store, record) for store, record in chosen.values() if store is not target]
    _copy_all(copied, target)
    merged.copied, merged.already = len(copied), len(chosen) - len(copied)
    if scores:
        atomic_write(target.root / SCORE_FILE, scores[0].read_bytes())
    # A plan that has all of its suite's jobs is written after it, any other before: see `status.jobs_of`.
    for name in plans.keys() - complete:
        save_plan(out, plans[name])
    for name, suite in suites.items():
        cells: list[Any] = list(suite["cells"])
        target.write_suite(name, cells, kinds=suite["kinds"], claims=suite.get("claims", ()))
    for name in complete:
        save_plan(out, plans[name])
    return merged


def _plans(stores: Sequence[Store], merged: Merged) -> tuple[dict[str, PlanFile], set[str]]:
    """The plans of all, those of one suite joined, so that what none has done can be: by `work` where one was for it.
    And the names of those that lack nothing, since all folders with their suite have a plan of it."""
    of_suite: dict[str, list[PlanFile]] = {}
    lacking: set[str] = set()
    for path in plan_paths(stores[0].root):
        refuse_newer(path)
    for store in stores:
        here = set()
        for path in plan_paths(store.root):
            try:
                plan = read_plan(path)
            except UserError as error:
                merged.plans.append(str(error))
            else:
                here.add(plan.suite)
                of_suite.setdefault(plan.suite, []).append(plan)
        lacking |= {suite["suite"] for suite in store.read_suites()} - here
    joined = {
        name: PlanFile(
            suite=name,
            jobs=joined_jobs(plans),
            engine="leases" if any(plan.engine == "leases" for plan in plans) else plans[0].engine,
            imports=joined_imports(plans),
            settings=joined_settings(plans),
        )
        for name, plans in of_suite.items()
    }
    return joined, joined.keys() - lacking


def _records(stores: Sequence[Store], merged: Merged) -> tuple[dict[str, tuple[Store, Record]], list[str]]:
    chosen: dict[str, tuple[Store, Record]] = {}
    conflicts = []
    for store in stores:
        for kind, key in store.folders():
            job, folder = f"{kind}/{key}", store.job_folder(kind, key)
            if not os.path.lexists(folder / RECORD):
                continue
            try:
                record = store.read(kind, key)
            except InvalidRecord as error:
                left_out = merged.newer if isinstance(error, NewerRecord) else merged.damaged
                left_out.append(f"{folder / RECORD}: {error}")
                continue
            damage = store.damage(record) if record.status == "finished" else None
            if damage is not None:
                merged.damaged.append(f"{folder}: {damage}")
                continue
            first = chosen.get(job)
            if first is None or (first[1].status == "failed" and record.status == "finished"):
                chosen[job] = (store, record)
            elif is_partial(first[1]) or is_partial(record):  # the gate that knew of more results
                chosen[job] = first if is_partial(record) else (store, record)
            elif record.status == "finished" and (differing := _differing(first[1], record)):
                conflicts.append(f"{job} has another {differing} in {first[0].root} and in {store.root}")
    target = stores[0]
    for job, (store, _) in chosen.items():
        if store is not target and target.is_newer(*job.split("/", 1)):
            conflicts.append(f"{job} has a record of a newer latentbench in {target.root}, an older in {store.root}")
    return chosen, conflicts


def _differing(a: Record, b: Record) -> str:
    """The first thing, times and hosts aside, in which two records of one job differ; "" for none."""
    first, second = a.to_json(), b.to_json()
    for metric, other in zip(first["metrics"], second["metrics"], strict=False):
        if metric != other:
            return f"{metric['name']} ({metric['value']!r}, {other['value']!r})"
    return next((name for name in first if name != "run" and first[name] != second[name]), "")


def _suites(stores: Sequence[Store]) -> tuple[dict[str, SuiteFile], list[str]]:
    merged: dict[str, SuiteFile] = {}
    conflicts = []
    cells: dict[str, list[tuple[SuiteCell, Path]]] = {}
    claimed: dict[str, dict[str, Path]] = {}  # the first folder with each claim
    for store in stores:
        for suite in store.read_suites():
            known = merged.setdefault(suite["suite"], {**suite})
            known["kinds"] = [*known["kinds"], *(kind for kind in suite["kinds"] if kind not in known["kinds"])]
            claims = known.get("claims", [])
            added = [claim for claim in suite.get("claims", []) if claim not in claims]
            first = claimed.setdefault(suite["suite"], {})
            conflicts += [
                f"claim {claim['id']!r} of the suite {suite['suite']!r} is another in {first[claim['id']]} and in "
                f"{store.root}; `latentbench run` of one suite file in both folders writes the same claims"
                for claim in added
                if claim["id"] in first
            ]
            for claim in suite.get("claims", []):
                first.setdefault(claim["id"], store.root)
            known["claims"] = [*claims, *added]
            joined = cells.setdefault(suite["suite"], [])
            conflicts += [
                f"{cell} of the suite {suite['suite']!r} has other jobs in {where} and in {store.root}"
                for cell, where in _join(joined, suite["cells"], store.root)
            ]
            known["cells"] = [cell for cell, _ in joined]
    return merged, conflicts


def _join(joined: list[tuple[SuiteCell, Path]], cells: Sequence[SuiteCell], root: Path) -> list[tuple[str, Path]]:
    """Add a suite's `cells` in `root` to those of the folders before, and return the conflicts: names, and where.

    One folder may have several cells of a name, with a tokenizer each: a run with `--extend` keeps the old ones. Those
    of two folders are of one suite if a tokenizer is in both.
    """
    before: dict[str, list[tuple[SuiteCell, Path]]] = {}
    for cell, place in joined:
        before.setdefault(cell["cell"], []).append((cell, place))
    tokenizers: dict[str, set[str | None]] = {}
    for cell in cells:
        tokenizers.setdefault(cell["cell"], set()).add(cell["jobs"].get("tokenizer"))
    conflicts = []
    for cell in cells:
        name, tokenizer = cell["cell"], cell["jobs"].get("tokenizer")
        others = before.get(name, [])
        if any(other["jobs"] == cell["jobs"] for other, _ in others):
            continue
        rivals = [place for other, place in others if other["jobs"].get("tokenizer") == tokenizer]
        if not tokenizers[name] & {other["jobs"].get("tokenizer") for other, _ in others}:
            rivals = [place for _, place in others]
        if rivals:
            conflicts.append((name, rivals[0]))
        else:
            joined.append((cell, root))
    return conflicts


def _copy_all(copied: Sequence[tuple[Store, Record]], target: Store) -> None:
    """Copy jobs, some at once: nearly all of a copy's time is the disk's for its flushes, which it takes together."""
    pool = ThreadPoolExecutor(_COPIES)
    try:
        deque(pool.map(lambda job: _copy(job[0], job[1], target), copied), maxlen=0)
    finally:  # where one can't be written, or at Ctrl-C, none is begun any more
        pool.shutdown(cancel_futures=True)


def _copy(store: Store, record: Record, target: Store) -> None:
    """A job's artifacts, then its log, configuration and curve, and its record last: what is cut off counts as not
    done."""
    source, folder = store.job_folder(record.kind, record.key), target.job_folder(record.kind, record.key)
    logs = [str(path.relative_to(source)) for path in sorted((source / "log").glob("attempt-*.log"))]
    more = [name for name in (CONFIG, CURVE, *logs) if (source / name).is_file()]
    for name in (*record.artifacts, *more):
        with atomic_file(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
        if name in logs:
            times = (source / name).stat()
            os.utime(folder / name, ns=(times.st_atime_ns, times.st_mtime_ns))
    target.save(record)
