"""Which tokenizers deserve a full prior: runs without one, ordered by a fitted score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..comparable import SCORE
from ..display import printable
from ..filters import select
from ..groups import Group, aggregate, split
from ..rows import rows
from .run_records import cell_name
from .score_file import verdict
from .scored import described, usable_score, with_score


def ranking(score: Path, dirs: Sequence[Path], *, where: Sequence[str] = (), best: int = 3) -> list[str]:
    """Lines of Markdown: by suite and data set the tokenizers, the best score first, with what is to be doubted (that
    the score was fitted on it too); those whose score is withheld come last. The first `best` are marked. Raises
    UserError where no cell has a score."""
    fitted = usable_score(score)
    tables = split(aggregate(with_score(select(rows(dirs), list(where)), score)))
    lines = [verdict(fitted), "", f"Score: {printable(described(fitted))}.", ""]
    for table in tables:
        first = table[0]
        lines += [
            f"## {printable(first.suite)} · {printable(first.dataset)} ({first.modality})",
            "",
            "| full prior | tokenizer | score (lower is better) | |",
            "| --- | --- | ---: | --- |",
        ]
        for place, group in enumerate(sorted(table, key=_order)):
            value = group.mean(SCORE)
            mark = "yes" if place < best and value is not None else ""
            number = "withheld" if value is None else f"{value:.3g}"
            lines.append(
                f"| {mark} | {printable(cell_name(group))} | {number} | {printable('; '.join(group.doubts(SCORE)))} |"
            )
        lines.append("")
    return lines[:-1]


def _order(group: Group) -> tuple[bool, float]:
    value = group.mean(SCORE)
    return value is None, value or 0.0
