"""`latentbench calibrate`: from folders of runs, or a CSV, to tables, JSON and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..display import printable
from ..errors import UserError
from ..metric import Direction
from .observations import FAMILY_MEAN, Observations, directed
from .pairs import with_pairs
from .report import Calibration, calibrate
from .run_records import read_runs
from .table_file import EARNED, read_table
from .table_lines import SUFFIXES, read_sheet
from .ways import refuse_several

LARGEST = 5000  # tokenizers: what is compared is all pairs of them


def calibrations(sources: Sequence[Path], *, pairs: bool = False, **options: Any) -> list[Calibration]:
    """The calibrations of folders of runs, or of CSV files, with the options of `observations`; with `pairs` of
    proxies too. Raises UserError."""
    tables = observations(sources, **options)
    return [calibrate(with_pairs(table) if pairs else table) for table in tables]


def of_one_outcome(tables: Sequence[Observations]) -> list[Observations]:
    """The tables by the first one's outcome: what a score is fitted to. Raises UserError where one of their data sets
    has no table by it, and names an outcome that all have; and where priors are sampled in several ways."""
    refuse_several([table.way for table in tables], "--fit-score: a score has one outcome of a tokenizer")
    chosen = [table for table in tables if table.outcome == tables[0].outcome]
    titles = {table.title for table in chosen}
    others = [table for table in tables if table.title not in titles]
    if not others:
        return chosen
    by_title: dict[str, list[str]] = {}
    for table in tables:
        by_title.setdefault(table.title, []).append(table.outcome.removeprefix("log "))
    shared = [name for name in by_title[chosen[0].title] if all(name in names for names in by_title.values())]
    what = ", ".join(dict.fromkeys(f"{table.title} has {table.outcome}" for table in others))
    right = f"name one that all have: --outcome {shared[0]}" if shared else "calibrate them apart, or leave them out"
    raise UserError(
        f"--fit-score: a score has one outcome, here {printable(chosen[0].outcome)}, and {printable(what)}: {right}"
    )


def observations(
    sources: Sequence[Path],
    *,
    outcome: str | None = None,
    family: str | None = None,
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    where: Sequence[str] = (),
    better: Direction | None = None,
    higher: Sequence[str] = (),
    lower: Sequence[str] = (),
    admit: str | None = None,
) -> list[Observations]:
    """What is calibrated in folders of runs, or in CSV files: see `read_runs` and `read_table`. `higher` and `lower` go
    before what metrics of runs declare; `better`, which way the outcome is better, and `admit` None are the default.
    Raises UserError, also where nothing can be said: of fewer than three tokenizers, one outcome, or no predictor."""
    files = [path for path in sources if is_table(path)]
    folders = [path for path in sources if path not in files]
    if files and folders:
        raise UserError(f"{files[0]}: give folders of runs or CSV files, not both")
    named = {"outcome": outcome, "family": family, "proxies": proxies, "baselines": baselines, "where": where}
    fixed = [*dict.fromkeys(fixed)]
    if files:
        if admit is not None:
            raise _no_admission(files[0], admit)
        tables = [
            read_table(path, direction=better, fixed=fixed, higher=higher, lower=lower, **named)  # type: ignore[arg-type]
            for path in files
        ]
    else:
        tables = read_runs(folders, fixed=fixed, admit=admit or "earned", **named)  # type: ignore[arg-type]
        tables = [_of_direction(table, better) for table in directed(tables, higher, lower)]
    refused = [_refusal(table) for table in tables]
    useful = [table for table, reason in zip(tables, refused, strict=True) if not reason]
    reasons = [reason for reason in refused if reason]
    if reasons and (files or not useful):
        raise UserError(reasons[0])
    return [replace(table, notes=(*table.notes, *reasons * (table is useful[0]))) for table in useful]


def is_table(path: Path) -> bool:
    """Whether it is to be read as a CSV."""
    return path.suffix.lower() in SUFFIXES


def _no_admission(path: Path, admit: str) -> UserError:
    earned = next((name for name in read_sheet(path).header if name.startswith(EARNED)), None)
    right = "none of its columns says of which tokenizers a prior earned its outcome: leave it out"
    if earned is not None:
        right = f"choose its lines instead: --where '{printable(earned)}!=no', and none for all"
    return UserError(f"{path}: --admit {admit} is of runs; {right}")


def _of_direction(table: Observations, better: Direction | None) -> Observations:
    if better in (None, table.direction):
        return table
    if table.direction != "none":
        raise UserError(
            f"--better {better}: of {printable(table.outcome)} {table.direction} is better, as its records say"
        )
    return replace(table, direction=better)


def _refusal(table: Observations) -> str:
    """Why a calibration of the table would say nothing, or be too large; "" where it would."""
    title, outcome = printable(table.title), printable(table.outcome)
    more = "".join(f" {note}" for note in table.notes[-2:])
    if (count := len(table.items)) < 3:
        return f"{title}: a calibration needs three tokenizers, and it has {count} with {outcome}.{more}"
    if count > LARGEST:
        return f"{title}: {count} tokenizers; a calibration compares all pairs of {LARGEST} at most: choose by --where."
    means = [item.mean for item in table.items]
    if min(means) == max(means):
        return f"{title}: {outcome} is {means[0]:.6g} for all {count} tokenizers: there is nothing to predict."
    if not any(_varies(table, predictor.name) for predictor in table.predictors if predictor.name != FAMILY_MEAN):
        return (
            f"{title}: nothing to predict {outcome} by: expected a column of numbers that differ, of three tokenizers "
            f"or more.{more}"
        )
    return ""


def _varies(table: Observations, name: str) -> bool:
    values = [item.values[name] for item in table.items if name in item.values]
    return len(values) > 2 and min(values) < max(values)
