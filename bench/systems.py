"""The table of systems: where each runs, what is claimed of it, what the last run of `systems` says. No torch."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..results.claims import Claim, Finding, conclusions, judge
from ..results.display import brief as brief_number
from ..results.display import counted
from ..results.errors import UserError
from ..results.rows import Row, rows
from ..results.store import Store
from ..tokenizers.recipe import Recipe, load_recipe, recipe_names
from ..tokenizers.spec import Modality
from .further_systems import FURTHER, FurtherSystem
from .suite import check_claims, load_suite

SUITE = "systems"
RUNS = Path("runs")  # where runs go unless told
HEAD = ("system", "where it runs", "modalities", "claim", "last result")
WIDTHS = (22, 22, 11, 44, 93)  # with two spaces between them, 200 columns

Owners = Mapping[str, Sequence[Recipe]]


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One row of the table; `recipes` are names to be set as code, `results` its last results, the verdict first."""

    id: str
    title: str
    where: str
    modalities: str
    says: str
    results: list[str]
    recipes: bool


def brief() -> list[str]:
    """A line per system: its id and name, and where it runs."""
    claims = _of_systems(load_suite(SUITE).claims)
    owners = _owners(claims)
    rows = [(claim.id, claim.title, _recipes(claim, owners)) for claim in claims]
    rows += [(system.id, system.title, system.where) for system in FURTHER]
    width = max(len(title) for _, title, _ in rows)
    return [f"{title.ljust(width)}  {where}" for _, title, where in sorted(rows, key=lambda row: _order(row[0]))]


def systems_text(runs: Path | None = None) -> str:
    """The table for a terminal of 200 columns. `runs` is a run's folder or one that holds runs (default: `runs`)."""
    folder, table = last_run(runs)
    lines = [_line(HEAD), _line(["-" * width for width in WIDTHS])]
    for row in _rows(folder, table, runs):
        columns = [textwrap.wrap(row.title, WIDTHS[0], subsequent_indent="    ")]
        texts = (row.where, row.modalities, row.says)
        columns += [textwrap.wrap(text, width) for text, width in zip(texts, WIDTHS[1:], strict=False)]
        columns.append([part for text in row.results for part in _wrapped(text)])
        height = max(len(column) for column in columns)
        lines += [_line([column[i] if i < len(column) else "" for column in columns]) for i in range(height)]
    return "\n".join([*lines, "", *textwrap.wrap(_origin(folder, table), 200)])


def systems_markdown(runs: Path | None = None) -> str:
    """The same table in Markdown, with what every modality says; each system has an anchor: `systems.md#a5`."""
    folder, table = last_run(runs)
    lines = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    for row in _rows(folder, table, runs, everywhere=True):
        where = ", ".join(f"`{name}`" for name in row.where.split(", ")) if row.recipes else row.where
        title = f'<a id="{row.id.lower()}"></a>{row.title}'
        lines.append(f"| {title} | {where} | {row.modalities} | {row.says} | {'<br>'.join(row.results)} |")
    return "\n".join([*lines, "", _origin(folder, table)])


def _rows(folder: Path | None, table: Sequence[Row], runs: Path | None, *, everywhere: bool = False) -> list[_Line]:
    """All systems in the order of their ids."""
    claims = _of_systems(claims_of(folder))
    owners = _owners(claims)
    lines = [
        _Line(
            id=claim.id,
            title=claim.title,
            where=_recipes(claim, owners),
            modalities=_modalities(claim, owners),
            says=claim.claim,
            results=_results(claim, table, everywhere=everywhere),
            recipes=True,
        )
        for claim in claims
    ]
    lines += [
        _Line(
            id=system.id,
            title=system.title,
            where=system.where,
            modalities=", ".join(system.modalities) or "all",
            says=system.says,
            results=_further_results(system, table, runs, everywhere=everywhere),
            recipes=False,
        )
        for system in FURTHER
    ]
    return sorted(lines, key=lambda line: _order(line.id))


def _of_systems(claims: Sequence[Claim]) -> list[Claim]:
    """The claims that have a row of their own; those with the id of a further system are told in its row."""
    further = {system.id for system in FURTHER}
    return [claim for claim in claims if claim.id not in further]


def _further_results(
    system: FurtherSystem,
    table: Sequence[Row],
    runs: Path | None,
    *,
    everywhere: bool,
) -> list[str]:
    if not system.runs:
        return ["–"]
    if system.statement:
        return _concluded(system, runs, everywhere=everywhere) or ["not run"]
    if system.priors:
        return _generated(system, table) or ["not run"]
    return _finished(system.suites, runs if runs is not None else RUNS) or ["not run"]


def _generated(system: FurtherSystem, table: Sequence[Row]) -> list[str]:
    """Per modality, the lowest Fréchet distance that the system's priors have reached, in the net that leads."""
    best: dict[str, tuple[float, str]] = {}
    for row in table:
        if row.get("prior") not in system.priors or (system.recipe and row["recipe"] != system.recipe):
            continue
        # Records have the leading net's distance first; those of two nets are no numbers to choose between.
        metric = next((metric for name, metric in row.metrics.items() if name.startswith("gfd_")), None)
        if metric is not None and metric.value is not None:
            text = f"{metric.name} {brief_number(metric.value)} ({row['prior']} on {row['label']})"
            best[row["modality"]] = min(best.get(row["modality"], (metric.value, text)), (metric.value, text))
    return [f"{modality}: {text}" for modality, (_, text) in best.items()]


def _concluded(system: FurtherSystem, runs: Path | None, *, everywhere: bool) -> list[str]:
    """What the newest runs of the statement's suites say of the claims with its id."""
    lines: list[str] = []
    for suite in system.suites:
        folder, table = _newest(runs, suite)
        if folder is not None:
            claims = [claim for claim in claims_of(folder, suite) if claim.id == system.id]
            texts = [text for claim in claims for text in _results(claim, table, everywhere=everywhere)]
            lines += [text for text in texts if text != "not run"]
    return lines


def _finished(suites: Sequence[str], base: Path) -> list[str]:
    """How many cells of the suites are finished in the folders at `base` or right below it."""
    lines = []
    for folder in (base, *_below(base)):
        store = Store(folder)
        if any(store.suite_path(suite).is_file() for suite in suites):
            for suite in suites:
                cells = [row for row in rows([folder]) if row["suite"] == suite]
                done = sum(row["status"] == "finished" for row in cells)
                if cells:
                    command = f"latentbench leaderboard {shlex.quote(str(folder))}"
                    lines.append(f"{suite}: {done} of {counted(len(cells), 'cell')} finished: {command}")
    return lines


def _order(id: str) -> tuple[str, int]:
    return id[:1], int(id[1:]) if id[1:].isdecimal() else 0


def claims_of(folder: Path | None, suite: str = SUITE) -> tuple[Claim, ...]:
    """The claims of the run of `suite` in `folder`, as it was run; those of the shipped suite where it has none, or for
    None.

    Raises UserError where they are damaged.
    """
    files = [] if folder is None else [file for file in Store(folder).read_suites() if file["suite"] == suite]
    stored = [claim for file in files for claim in file.get("claims", [])]
    if folder is None or not stored:
        return load_suite(suite).claims
    return check_claims(stored, str(Store(folder).suite_path(suite)))


def last_run(runs: Path | None) -> tuple[Path | None, list[Row]]:
    """The folder of the newest run of the suite at `runs` or right below it, with its rows; (None, []) without one.

    Raises UserError when a folder that was named does not exist or holds no such run.
    """
    folder, table = _newest(runs, SUITE)
    if folder is None and runs is not None:
        raise UserError(f"--runs {runs}: no run of the suite {SUITE!r} there (no suites/{SUITE}.json)")
    return folder, table


def _newest(runs: Path | None, suite: str) -> tuple[Path | None, list[Row]]:
    """The folder of the newest run of `suite` at `runs` or right below it, with its rows; (None, []) without one."""
    base = runs if runs is not None else RUNS
    folders = [folder for folder in (base, *_below(base)) if Store(folder).suite_path(suite).is_file()]
    if not folders:
        return None, []
    newest = max(folders, key=lambda folder: Store(folder).suite_path(suite).stat().st_mtime)
    return newest, [row for row in rows([newest]) if row["suite"] == suite]


def _below(base: Path) -> list[Path]:
    try:
        return sorted(entry for entry in base.iterdir() if entry.is_dir())
    except OSError:
        return []


def _results(claim: Claim, table: Sequence[Row], *, everywhere: bool = False) -> list[str]:
    """The verdict by modality (confirmed, refuted, undecided), then a line per comparison: of the modality with most
    seeds, or of all."""
    findings = judge(claim, table) if table else []
    verdict = conclusions(findings)
    if not verdict:
        return ["not run"]
    seeds = {m: max(f.seeds for f in findings if f.modality == m) for m in verdict}
    first = max(verdict, key=lambda modality: seeds[modality])
    once = {m: " (1 seed)" if seeds[m] == 1 and status != "not run" else "" for m, status in verdict.items()}
    lines = ["; ".join(f"{modality}: {status}{once[modality]}" for modality, status in verdict.items())]
    for finding in findings:
        if everywhere or finding.modality in (first, "") or _nowhere_else(finding, findings, first):
            where = f"{finding.modality}: " if finding.modality and (everywhere or finding.modality != first) else ""
            lines.append(f"{where}{finding.told}")
    return lines


def _nowhere_else(finding: Finding, findings: Sequence[Finding], first: str) -> bool:
    """Whether the comparison was not made in the modality `first`."""
    return not any(f.comparison == finding.comparison and f.modality == first for f in findings)


def _owners(claims: Sequence[Claim]) -> dict[str, list[Recipe]]:
    """The recipes of each system, by its id."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return {claim.id: [recipe for recipe in recipes if claim.id in recipe.systems] for claim in claims}


def _recipes(claim: Claim, owners: Owners) -> str:
    return ", ".join(recipe.name for recipe in owners[claim.id]) or claim.options


def _modalities(claim: Claim, owners: Owners) -> str:
    known = {modality for recipe in owners[claim.id] for modality in recipe.modalities} or set(Modality)
    return "all" if known == set(Modality) else ", ".join(m.value for m in Modality if m in known)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTHS[-1], subsequent_indent="  ")


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _origin(folder: Path | None, table: Sequence[Row]) -> str:
    if folder is None:
        return f"nothing was run: `latentbench run {SUITE}` does"
    findings = [finding for claim in claims_of(folder) for finding in judge(claim, table)]
    tested = [f for f in findings if f.low is not None and f.comparison.relation != "equal to"]
    return (
        f"records: {folder}. Left - right with its 95 % interval: over paired seeds, or within the run where there is "
        "one seed; confirmed where the whole interval lies where the claim says. Comparisons tested: "
        f"{len(tested)}, each with an interval of its own: of those in which nothing differs, about 1 in 40 is "
        "confirmed by chance."
    )
