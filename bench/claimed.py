"""What finished runs say of the `[[claims]]` of their suites, as people and programs read it. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..results.claims import Claim, Conclusion, Finding, conclusions, judge
from ..results.display import printable
from ..results.errors import UserError
from ..results.filters import select
from ..results.rows import Row, rows
from ..results.store import Store
from .suite import check_claims

COUNTED = (
    "Left − right with its 95 % interval, each by itself. Comparisons tested: {tested}; of those in which nothing "
    "differs, about 1 in 40 is confirmed by chance."
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim of a suite, its verdict by modality ({}: nothing was run), and what was found of each comparison."""

    suite: str
    claim: Claim
    verdicts: Mapping[str, Conclusion]
    findings: Sequence[Finding]

    @property
    def verdict(self) -> str:
        """All verdicts in one line: "image: confirmed; waveform: undecided"."""
        return "; ".join(f"{modality}: {verdict}" for modality, verdict in self.verdicts.items()) or "not run"

    @property
    def lines(self) -> list[str]:
        """A line for each comparison, with its modality where there are several, and its data set where one modality
        has several."""
        modalities = {finding.modality for finding in self.findings if finding.modality}
        datasets = {finding.dataset for finding in self.findings if finding.dataset}
        result = []
        for finding in self.findings:
            where = [finding.modality] if len(modalities) > 1 else []
            where += [finding.dataset] if len(datasets) > len(modalities) else []
            place = f"{' '.join(filter(None, where))}: " if any(where) else ""
            result.append(printable(f"{place}{finding.told}"))
        return result


def judged(dirs: Sequence[Path], where: Sequence[str] = ()) -> list[Judged]:
    """Every claim of the suites that were run in `dirs`, in the suites' order. A suite whose cells lie in several
    folders is judged over all of them. `where` keeps the rows for which it holds.

    Raises UserError for a folder that holds no run or damaged claims, where a suite's claims differ between two
    folders, and where no suite has any.
    """
    claims: dict[str, tuple[Claim, ...]] = {}
    homes: dict[str, Path] = {}
    table: list[Row] = []
    for folder in dirs:
        table += rows([folder], boards=False)
        for file in Store(folder).read_suites():
            own = check_claims(file.get("claims", []), str(Store(folder).suite_path(file["suite"])))
            if claims.setdefault(file["suite"], own) != own:
                first = homes[file["suite"]]
                raise UserError(f"{first} and {folder}: their suite {file['suite']} claims different things; give one")
            homes.setdefault(file["suite"], folder)
    if not any(claims.values()):
        named = ", ".join(map(str, dirs))
        raise UserError(f"{named}: no suite there has [[claims]], which say what its cells are compared in")
    table = select(table, where)
    result = []
    for suite, of_suite in claims.items():
        own_rows = [row for row in table if row["suite"] == suite]
        for claim in of_suite:
            findings = judge(claim, own_rows)
            verdicts = conclusions(findings) if own_rows else {}
            result.append(Judged(suite=suite, claim=claim, verdicts=verdicts, findings=findings))
    return result


def intervals(items: Sequence[Judged]) -> int:
    """How many comparisons have an interval; sameness, which is claimed of every seed, is no test of this kind."""
    findings = [finding for item in items for finding in item.findings]
    return sum(finding.low is not None and finding.comparison.relation != "equal to" for finding in findings)


def to_text(items: Sequence[Judged]) -> str:
    """For a terminal: by suite, a claim with its verdict, and its comparisons below it."""
    lines: list[str] = []
    for i, item in enumerate(items):
        if i == 0 or items[i - 1].suite != item.suite:
            lines += [*([""] if lines else []), printable(item.suite)]
        lines += [f"  {printable(f'{item.claim.title}: {item.claim.claim}')}", f"    {item.verdict}"]
        lines += [f"      {line}" for line in item.lines]
    return "\n".join([*lines, "", COUNTED.format(tested=intervals(items))])


def to_markdown(items: Sequence[Judged]) -> str:
    """A table with a row for each claim."""
    several = len({item.suite for item in items}) > 1
    head = [*(["suite"] if several else []), "id", "name", "claim", "verdict", "comparisons"]
    lines = [_row(head), _row(["---"] * len(head))]
    for item in items:
        about = [*([item.suite] if several else []), item.claim.id, item.claim.name, item.claim.claim]
        lines.append(_row([*about, item.verdict, "\n".join(item.lines)]))
    return "\n".join([*lines, "", COUNTED.format(tested=intervals(items))])


def _row(cells: Sequence[str]) -> str:
    shown = ["<br>".join(printable(line).replace("|", r"\|") for line in cell.splitlines()) for cell in cells]
    return f"| {' | '.join(shown)} |"


def to_json(items: Sequence[Judged]) -> str:
    """A list with an object for each claim: `suite`, `id`, `name`, `claim`, `verdicts` by modality, `comparisons`."""
    return json.dumps([_object(item) for item in items], indent=2, ensure_ascii=False)


def _object(item: Judged) -> dict[str, Any]:
    about = {"suite": item.suite, "id": item.claim.id, "name": item.claim.name, "claim": item.claim.claim}
    return about | {"verdicts": dict(item.verdicts), "comparisons": [asdict(finding) for finding in item.findings]}
