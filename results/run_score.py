"""The score that tables of a run show: a file that is named, or the `score.json` in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from .comparable import SCORE
from .errors import UserError
from .groups import doubts_column
from .metrics import Metrics
from .rows import Row

FILE = "score.json"


def with_score_of(table: Sequence[Row], dirs: Sequence[Path | str], named: Path | None) -> list[Row]:
    """The rows with `modelability_score` as `calibration.scored.with_score` has it, by the file that is `named`, or by
    `score.json` in the folders `dirs`; unchanged where neither is there.

    The folders' own is not asked for: where it gives no row a score, or has no terms, the rows stay as they are, and
    rows of a board that were published with a score keep it. Raises UserError as `with_score` does for the named one,
    for a folder's that is damaged, and for folders with different ones.
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
    unscored = [row for row in table if SCORE not in row.metrics]
    result = scored_rows(unscored, score) if score.terms else []
    if all(row.metrics[SCORE].value is None for row in result):
        return list(table)
    scored = iter(result)
    return [row if SCORE in row.metrics else next(scored) for row in table]


def with_scores_of_runs(table: Sequence[Row]) -> list[Row]:
    """The rows of several runs with `modelability_score`, each run's by the `score.json` in its own folder, as
    `with_score_of` has it. Raises UserError for a damaged one."""
    by_source: dict[str, list[Row]] = {}
    for row in table:
        by_source.setdefault(row["source"], []).append(row)
    scored = {source: iter(with_score_of(members, [source], None)) for source, members in by_source.items()}
    return [next(scored[row["source"]]) for row in table]


def without_score(table: Iterable[Row]) -> list[Row]:
    """The rows without the score and the doubts of it that those of a board may have."""
    return [_without(row) if SCORE in row.metrics else row for row in table]


def score_files(dirs: Iterable[Path | str]) -> list[Path]:
    """The files `score.json` that there are in the folders, in their order."""
    # `os.path` says no to a name that no file can have, for which a Path raises.
    return [Path(folder) / FILE for folder in dirs if os.path.isfile(Path(folder) / FILE)]


def differing_pairs(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """The first of the score files beside each that has other content. Raises UserError for one that can't be read."""
    contents = [_content(file) for file in files]
    return [(files[0], file) for file, content in zip(files, contents, strict=True) if content != contents[0]]


def _own(dirs: Sequence[Path | str]) -> Path | None:
    """The folders' own file, None where there is none. Raises UserError where they have different ones."""
    files = score_files(dirs)
    for first, other in differing_pairs(files):
        raise UserError(f"{first} and {other} are different scores: name one with --score")
    return files[0] if files else None


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: can't be read: {error.strerror}") from None


def _without(row: Row) -> Row:
    columns = {name: value for name, value in row.columns.items() if name != doubts_column(SCORE)}
    return replace(
        row, columns=columns, metrics=Metrics.of({name: one for name, one in row.metrics.items() if name != SCORE})
    )
