"""What several commands print. Torch-free."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import complain

if TYPE_CHECKING:
    from ..runner import Outcome


def report(outcome: Outcome) -> int:
    """Print a run's tables, and say what has failed; returns the exit code."""
    show_tables([outcome.root], suite=outcome.suite.name)
    print(f"\nrecords: {outcome.root}; this table again: latentbench leaderboard {outcome.root}")
    if outcome.failed:
        logs = ", ".join(map(str, outcome.logs[:3])) + (", ..." if len(outcome.logs) > 3 else "")
        jobs = "1 job" if outcome.failed == 1 else f"{outcome.failed} jobs"
        complain(f"latentbench: {jobs} failed and {outcome.skipped} that need them were skipped; logs: {logs}")
    return 1 if outcome.failed else 0


def show_tables(
    dirs: Sequence[Path], *, format: str | None = None, wide: bool = False, latex_columns: int = 1, **options: Any
) -> None:
    """Print the leaderboard: as tables of a terminal where there is one, as Markdown elsewhere, unless told."""
    from rich.console import Console

    from ...results.leaderboard import leaderboard, show

    if format is None and sys.stdout.isatty():
        show(dirs, Console(), wide=wide, **options)
    else:
        print(leaderboard(dirs, format=format or "md", latex_columns=latex_columns, **options))
