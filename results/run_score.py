"""The score that tables of a run show: a file that is named, or the `score.json` in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .comparable import SCORE
from .errors import UserError
from .rows import Row

FILE = "score.json"


def with_score_of(table: Sequence[Row], dirs: Sequence[Path | str], named: Path | None) -> list[Row]:
    """The rows with `modelability_score` as `calibration.scored.with_score` has it, by the file that is `named`, or by
    `score.json` in the folders `dirs`; unchanged where neither is there.

    The folders' own is not asked for: where it gives no row a score, or has no terms, the rows stay as they are.
    Raises UserError as `with_score` does for the named one, for a folder's that is damaged, and for folders with
    different ones.
    """
    if named is not None:
        from .calibration.scored import with_score  # it imports scipy, which no other table needs

        return with_score(table, named)
    own = _own(dirs)
    if own is None:
        return list(table)
    from .calibration.score_file import from_json
    from .calibration.scored import scored_rows

    score = from_json(own)
    result = scored_rows(table, score) if score.terms else []
    return result if any(row.metrics[SCORE].value is not None for row in result) else list(table)


def _own(dirs: Sequence[Path | str]) -> Path | None:
    """The folders' own file, None where there is none. Raises UserError where they have different ones."""
    files = [path for folder in dirs if (path := Path(folder) / FILE).is_file()]
    for other in files[1:]:
        if other.read_bytes() != files[0].read_bytes():
            raise UserError(f"{files[0]} and {other} are different scores: name one with --score")
    return files[0] if files else None
