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
from .observations import Observations, directed
from .run_records import DERIVED, MEAN_RANK, cell_name, family_of, mean_ranks, observe, outcome_nets, title_of
from .table_file import EARNED
from .table_lines import read_sheet
from .ways import once, refuse_several, ways

_DIGITS = 7
_LOG = "log_"


def write_table(
    path: Path,
    dirs: Sequence[Path],
    *,
    outcome: str | None = None,
    family: str | None = None,
    proxies: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    fixed: Sequence[str] = (),
    where: Sequence[str] = (),
    higher: Sequence[str] = (),
    lower: Sequence[str] = (),
) -> int:
    """Write the values of one data set's tokenizers to `path`, all of them, those of censored ones too.

    Returns how many lines there are below the header.

    Columns: `name`, `family`, `seed`; `earned_<gfd>`, whether the tokenizer's priors earned their outcome by that
    distance (see `admission`; empty where nothing tells); `log_<gfd>` of each net, `mean_rank` where there are several,
    and `outcome` where one is named that is neither; then the proxies and baselines of the runs' own calibration. Lines
    before the header say which outcome that had, which way each column is better, which are baselines, what proxies
    cost and by which protocol each was measured.
    Raises UserError for more than one data set or way of sampling, and whatever `read_runs` does.
    """
    table = select(rows(dirs), list(where))
    together = split(aggregate(table))
    if len(together) > 1:
        names = ", ".join(title_of(groups) for groups in together)
        raise UserError(f"--table holds one data set, and here are {names}: choose by --where dataset=NAME")
    groups = once(together[0])
    refuse_several([way for way, _ in ways(groups)], "--table holds one outcome of a tokenizer")
    tables = observe(
        table, outcome=outcome, family=family, proxies=proxies, baselines=baselines, fixed=fixed, admit="all"
    )
    observed = directed(tables[:1], higher, lower)[0]
    distances = [name for name in outcome_nets(groups) if is_trained_distance(name)]
    earned = {name: _earned(groups, name) for name in distances}
    ranks: Sequence[dict[int, float]] = mean_ranks(groups) if len(distances) > 1 else [{} for _ in groups]
    leading = _outcome(observed)
    named = [leading] if leading != MEAN_RANK and not leading.startswith(_LOG) else []
    derived = DERIVED[leading](groups) if named and leading in DERIVED else None
    predictors = [p.name for p in observed.predictors if p.name not in named and _is_column(observed, p.name)]
    lines = []
    for number, (group, rank) in enumerate(zip(groups, ranks, strict=True)):
        for row in sorted(group.rows, key=lambda row: row["seed"] or 0):
            line = {"name": cell_name(group), "family": family_of(group, family), "seed": str(row["seed"])}
            line |= {f"{EARNED}{name}": earned[name].get(id(group), "") for name in distances}
            line |= {_LOG + name: _text(_logarithm(row.get(name))) for name in distances}
            line |= {MEAN_RANK: _text(rank.get(row["seed"]))} if len(distances) > 1 else {}
            line |= {name: _text(_value(row, name)) for name in (*named, *predictors)}
            line |= {leading: _text(derived[number].get(row["seed"]))} if derived is not None else {}
            lines.append(line)
    file = io.StringIO()
    file.write(_preamble(observed, predictors))
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_output(path, file.getvalue().encode())
    return len(lines)


def again(path: Path) -> list[str]:
    """The words of the command that calibrates a table of `write_table` as its runs are: of all the tokenizers that it
    holds those are left out whose prior did not earn the outcome."""
    sheet = read_sheet(path)
    outcome = sheet.said.one("outcome") or ""
    nets = [name for name in sheet.header if name.startswith(EARNED)]
    if outcome != MEAN_RANK:
        nets = [name for name in nets if name.removeprefix(EARNED) == outcome.removeprefix(_LOG)]
    censored = [name for name in nets if any(line[name] == "no" for line in sheet.lines)]
    filters = (word for name in censored for word in ("--where", f"{name}!=no"))
    return ["latentbench", "calibrate", str(path), *filters]


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


def _outcome(observed: Observations) -> str:
    """The column of the outcome."""
    return observed.outcome.replace("log ", _LOG)


def _preamble(observed: Observations, columns: Sequence[str]) -> str:
    """What `read_table` takes as the file's own word: modality, outcome, family, what is held fixed, which way is
    better, which columns are baselines, what proxies cost, and how and of what they were measured."""
    said = {"modality": observed.modality, "outcome": _outcome(observed), "family": "family"}
    said |= {"better": observed.direction} if observed.direction != "lower" else {}
    said |= {"given": ", ".join(observed.fixed)}
    known = [p for p in observed.predictors if p.name in columns]
    for direction in ("higher", "lower"):
        said[direction] = ", ".join(p.name for p in known if p.direction == direction)
    said["baselines"] = ", ".join(p.name for p in known if p.baseline)
    for name in ("seconds", "share_of_flops"):
        costs = {p.name: getattr(p, name) for p in known}
        said[name] = ", ".join(f"{column}={_text(cost)}" for column, cost in costs.items() if cost is not None)
    lines = [f"{name}: {words}" for name, words in said.items() if words]
    domain = {"signal": observed.signal, "samples": observed.samples}
    lines += [f"domain: {name} = {value}" for name, value in domain.items() if value is not None]
    protocols = [(p.name, line) for p in known if not p.baseline for line in p.protocol.split("\n") if line]
    lines += [f"protocol: {name} = {line}" for name, line in protocols]
    return "".join(f"# {line}\n" for line in lines)
