"""The table of systems: id, recipe, modalities, claim, and what the last run of the suite `systems` says. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..results.claims import Finding, System, judge, verdicts
from ..results.errors import UserError
from ..results.rows import Row, rows
from ..results.store import Store
from ..results.systems import SYSTEMS
from ..tokenizers.recipe import Recipe, load_recipe, recipe_names
from ..tokenizers.spec import Modality

SUITE = "systems"
RUNS = Path("runs")  # where runs go unless told
HEAD = ("id", "recipe", "modalities", "claim", "last result")
WIDTHS = (4, 22, 11, 52, 103)  # with two spaces between them, 200 columns

Owners = Mapping[str, Sequence[Recipe]]


def brief() -> list[str]:
    """A line per system: id, recipes, what it is."""
    owners = _owners()
    found = [(item.id, _recipes(item, owners), item.name) for item in SYSTEMS]
    width = max(len(recipe) for _, recipe, _ in found)
    return [f"{name:3}  {recipe.ljust(width)}  {title}" for name, recipe, title in found]


def systems_text(runs: Path | None = None) -> str:
    """The table for a terminal of 200 columns. `runs` is a run's folder or one that holds runs (default: `runs`)."""
    folder, table = last_run(runs)
    owners = _owners()
    lines = [_line(HEAD), _line(["-" * width for width in WIDTHS])]
    for item in SYSTEMS:
        cells = [item.id, _recipes(item, owners), _modalities(item, owners), item.claim]
        columns = [textwrap.wrap(text, width) for text, width in zip(cells, WIDTHS, strict=False)]
        columns.append([part for text in _results(item, table) for part in _wrapped(text)])
        height = max(len(column) for column in columns)
        lines += [_line([column[i] if i < len(column) else "" for column in columns]) for i in range(height)]
    return "\n".join([*lines, "", *textwrap.wrap(_origin(folder), 200)])


def systems_markdown(runs: Path | None = None) -> str:
    """The same table in Markdown, with what every modality says."""
    folder, table = last_run(runs)
    owners = _owners()
    lines = [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    for item in SYSTEMS:
        recipes = ", ".join(f"`{name}`" for name in _recipes(item, owners).split(", "))
        results = "<br>".join(_results(item, table, everywhere=True))
        lines.append(f"| {item.id} | {recipes} | {_modalities(item, owners)} | {item.claim} | {results} |")
    return "\n".join([*lines, "", _origin(folder)])


def last_run(runs: Path | None) -> tuple[Path | None, list[Row]]:
    """The folder of the newest run of the suite at `runs` or right below it, with its rows; (None, []) without one.

    Raises UserError when a folder that was named does not exist or holds no such run.
    """
    base = runs if runs is not None else RUNS
    found = [folder for folder in (base, *_below(base)) if Store(folder).suite_path(SUITE).is_file()]
    if not found:
        if runs is not None:
            raise UserError(f"--runs {runs}: no run of the suite {SUITE!r} there (no suites/{SUITE}.json)")
        return None, []
    newest = max(found, key=lambda folder: Store(folder).suite_path(SUITE).stat().st_mtime)
    return newest, [row for row in rows([newest]) if row["suite"] == SUITE]


def _below(base: Path) -> list[Path]:
    try:
        return sorted(entry for entry in base.iterdir() if entry.is_dir())
    except OSError:
        return []


def _results(item: System, table: Sequence[Row], *, everywhere: bool = False) -> list[str]:
    """The verdict by modality, then a line per comparison: of the modality with most seeds, or of all."""
    findings = judge(item, table) if table else []
    found = verdicts(findings)
    if not found:
        return ["not run"]
    seeds = {m: max(f.seeds for f in findings if f.modality == m) for m in found}
    first = max(found, key=lambda modality: seeds[modality])
    once = {m: " (1 seed)" if seeds[m] == 1 and status != "not run" else "" for m, status in found.items()}
    lines = ["; ".join(f"{modality}: {status}{once[modality]}" for modality, status in found.items())]
    for finding in findings:
        if everywhere or finding.modality in (first, "") or _nowhere_else(finding, findings, first):
            where = f"{finding.modality}: " if finding.modality and (everywhere or finding.modality != first) else ""
            note = "" if finding.comparison.counts else " (for information)"
            lines.append(f"{where}{finding.text}{note}")
    return lines


def _nowhere_else(finding: Finding, findings: Sequence[Finding], first: str) -> bool:
    """Whether the comparison was not made in the modality `first`."""
    return not any(f.comparison == finding.comparison and f.modality == first for f in findings)


def _owners() -> dict[str, list[Recipe]]:
    """The recipes of each system, by its id."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return {item.id: [recipe for recipe in recipes if item.id in recipe.systems] for item in SYSTEMS}


def _recipes(item: System, owners: Owners) -> str:
    return ", ".join(recipe.name for recipe in owners[item.id]) or item.options


def _modalities(item: System, owners: Owners) -> str:
    known = {modality for recipe in owners[item.id] for modality in recipe.modalities} or set(Modality)
    return "all" if known == set(Modality) else ", ".join(m.value for m in Modality if m in known)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTHS[-1], subsequent_indent="  ")


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def _origin(folder: Path | None) -> str:
    if folder is None:
        return f"nothing was run: `latentbench run {SUITE}` does"
    return (
        f"records: {folder}. Left - right with its 95 % interval: Student's t over paired seeds, or within the run "
        "where there is one seed; confirmed where the whole interval lies where the claim wants it."
    )
