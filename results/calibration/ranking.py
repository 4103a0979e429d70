"""Which tokenizers deserve a full prior: runs without one, ordered by a fitted score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..display import printable
from ..errors import UserError
from ..filters import select
from ..groups import Group, aggregate, split
from ..rows import rows
from .run_records import cell_name, closed_form_values
from .score import Score, value_of
from .score_file import from_json, verdict


def ranking(score: Path, dirs: Sequence[Path], *, where: Sequence[str] = (), best: int = 3) -> list[str]:
    """Lines of Markdown: by suite and data set the tokenizers, the best score first, with what is to be doubted; those
    whose score is withheld come last. The first `best` are marked. Raises UserError where no cell has a score."""
    fitted = from_json(score)
    if not fitted.terms:
        raise UserError(f"{score}: {verdict(fitted)}")
    tables = split(aggregate(select(rows(dirs), list(where))))
    if not any(_value(fitted, group)[0] is not None for table in tables for group in table):
        reasons = next(
            (reason for table in tables for group in table for reason in _value(fitted, group)[1]), "no cells"
        )
        raise UserError(f"no tokenizer has a score: {reasons}")
    lines = [verdict(fitted), ""]
    for table in tables:
        first = table[0]
        lines += [
            f"## {printable(first.suite)} · {printable(first.dataset)} ({first.modality})",
            "",
            "| full prior | tokenizer | score (lower is better) | |",
            "| --- | --- | ---: | --- |",
        ]
        scored = [(group, *_value(fitted, group)) for group in table]
        scored.sort(key=lambda entry: (entry[1] is None, entry[1] or 0.0))
        for place, (group, value, doubts) in enumerate(scored):
            mark = "yes" if place < best and value is not None else ""
            number = "withheld" if value is None else f"{value:.3g}"
            lines.append(f"| {mark} | {printable(cell_name(group))} | {number} | {'; '.join(doubts)} |")
        lines.append("")
    return lines[:-1]


def _value(score: Score, group: Group) -> tuple[float | None, list[str]]:
    own = {term.proxy: value for term in score.terms if (value := group.mean(term.proxy)) is not None}
    return value_of(score, closed_form_values(group) | own, str(group.modality))
