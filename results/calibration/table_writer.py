"""A calibration's values as a CSV, for others to read and for `read_table`: a line per tokenizer and seed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..filters import select
from ..groups import Group, aggregate, split
from ..output_file import write_output
from ..rows import Row, is_number, rows
from .admission import admission, is_trained_distance
from .made import made, made_direction
from .observations import Observations
from .run_records import MEAN_RANK, cell_name, family_of, mean_ranks, observe, outcome_nets, title_of
from .ways import once, refuse_several, ways

_DIGITS = 7


def write_table(
    path: Path,
    dirs: Sequence[Path],
    *,
    outcome: str | None = None,
    family: str | None = None,
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    where: Sequence[str] = (),
) -> int:
    """Write the values of one data set's tokenizers to `path`, all of them, those of censored ones too.

    Returns how many lines there are below the header.

    Columns: `name`, `family`, `seed`; `earned_<gfd>`, whether the tokenizer's priors earned their outcome by that
    distance (see `admission`; empty where nothing tells); `log_<gfd>` of each net, `mean_rank` where there are several,
    and `outcome` where one is named that is neither; then the proxies and baselines of the runs' own calibration. Lines
    before the header say which outcome that had, and which way each column is better.
    Raises UserError for more than one data set or way of sampling, and whatever `read_runs` does.
    """
    table = select(rows(dirs), list(where))
    together = split(aggregate(table))
    if len(together) > 1:
        names = ", ".join(title_of(groups) for groups in together)
        raise UserError(f"--table holds one data set, and here are {names}: choose by --where dataset=NAME")
    groups = once(together[0])
    refuse_several([way for way, _ in ways(groups)], "--table holds one outcome of a tokenizer")
    observed = observe(table, outcome=outcome, family=family, proxies=proxies, baselines=baselines, admit="all")[0]
    distances = [name for name in outcome_nets(groups) if is_trained_distance(name)]
    earned = {name: _earned(groups, name) for name in distances}
    ranks: Sequence[dict[int, float]] = mean_ranks(groups) if len(distances) > 1 else [{} for _ in groups]
    named = [outcome] if outcome is not None and outcome not in (*distances, MEAN_RANK) else []
    predictors = [p.name for p in observed.predictors if p.name not in named and _is_column(observed, p.name)]
    lines = []
    for group, rank in zip(groups, ranks, strict=True):
        for row in sorted(group.rows, key=lambda row: row["seed"] or 0):
            line = {"name": cell_name(group), "family": family_of(group, family), "seed": str(row["seed"])}
            line |= {f"earned_{name}": earned[name].get(id(group), "") for name in distances}
            line |= {f"log_{name}": _text(_logarithm(row.get(name))) for name in distances}
            line |= {MEAN_RANK: _text(rank.get(row["seed"]))} if len(distances) > 1 else {}
            line |= {name: _text(_value(row, name)) for name in (*named, *predictors)}
            lines.append(line)
    file = io.StringIO()
    file.write(_preamble(observed, predictors))
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_output(path, file.getvalue().encode())
    return len(lines)


def _earned(groups: Sequence[Group], name: str) -> dict[int, str]:
    """By group "yes" or "no"; a group that nothing was tested of has no entry."""
    verdicts = {}
    for group in groups:
        judged = admission([group], [name])
        if not judged.untested:
            verdicts[id(group)] = "yes" if judged.admitted else "no"
    return verdicts


def _is_column(observed: Observations, name: str) -> bool:
    return any(name in item.values for item in observed.items)


def _value(row: Row, name: str) -> float | None:
    if made_direction(name) is not None:
        metric = made(row).get(name)
        return None if metric is None else metric.value
    value = row.get(name)
    return float(value) if is_number(value) else None


def _logarithm(value: object) -> float | None:
    return math.log(value) if isinstance(value, int | float) and value > 0 else None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.{_DIGITS}g}"


def _preamble(observed: Observations, columns: Sequence[str]) -> str:
    """What `read_table` takes as the file's own word: modality, outcome, family, what is held fixed, which way is
    better, and what proxies cost."""
    outcome = observed.outcome.replace("log ", "log_")
    outcome = f"log_{outcome}" if is_trained_distance(outcome) else outcome
    said = {"modality": observed.modality, "outcome": outcome, "family": "family", "given": ", ".join(observed.fixed)}
    proxies = [p for p in observed.predictors if p.name in columns]
    for direction in ("higher", "lower"):
        said[direction] = ", ".join(p.name for p in proxies if p.direction == direction)
    for name in ("seconds", "share_of_flops"):
        costs = {p.name: getattr(p, name) for p in proxies}
        said[name] = ", ".join(f"{column}={_text(cost)}" for column, cost in costs.items() if cost is not None)
    return "".join(f"# {name}: {words}\n" for name, words in said.items() if words)
