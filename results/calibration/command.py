"""`latentbench calibrate`: from folders of runs, or a CSV, to tables, JSON and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..display import printable
from ..errors import UserError
from ..metric import Direction
from .observations import Observations
from .pairs import with_pairs
from .report import Calibration, calibrate
from .run_records import read_runs
from .table_file import read_table
from .ways import refuse_several


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
    better: Direction = "lower",
    higher: Sequence[str] = (),
    lower: Sequence[str] = (),
    admit: str = "earned",
) -> list[Observations]:
    """What is calibrated in folders of runs, or in CSV files: see `read_runs` and `read_table`. Raises UserError."""
    files = [path for path in sources if path.suffix.lower() == ".csv"]
    folders = [path for path in sources if path not in files]
    if files and folders:
        raise UserError(f"{files[0]}: give folders of runs or CSV files, not both")
    if files:
        tables = [
            read_table(
                path,
                outcome=outcome,
                family=family,
                direction=better,
                proxies=proxies,
                baselines=baselines,
                fixed=fixed,
                higher=higher,
                lower=lower,
                where=where,
            )
            for path in files
        ]
    else:
        tables = read_runs(
            folders,
            outcome=outcome,
            family=family,
            proxies=proxies,
            baselines=baselines,
            fixed=fixed,
            where=where,
            admit=admit,
        )
    for table in tables:
        if len(table.items) < 3:
            raise UserError(f"{table.title}: a calibration needs three tokenizers, and it has {len(table.items)}")
    return tables
