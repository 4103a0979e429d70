"""What several commands print. Torch-free."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...results.display import counted, were
from ...results.errors import UserError
from ..console import complain

if TYPE_CHECKING:
    from ..runner import Outcome


def report(outcome: Outcome) -> int:
    """Print a run's tables, and say what has failed; returns the exit code."""
    show_tables([outcome.root], suite=outcome.suite.name)
    named = shlex.quote(str(outcome.root))
    print(f"\nrecords: {outcome.root}; this table again: latentbench leaderboard {named}")
    if outcome.suite.claims:
        print(f"what it says of its claims: latentbench claims {named}")
    if outcome.failed:
        logs = ", ".join(map(str, outcome.logs[:3])) + (", ..." if len(outcome.logs) > 3 else "")
        complain(f"latentbench: {told_failures(outcome.failed, outcome.skipped)}; logs: {logs}")
    return 1 if outcome.failed else 0


def told_failures(failed: int, skipped: int, *, cancelled: int = 0) -> str:
    """How many jobs failed or were cancelled, and how many were skipped for that."""
    needing = "that needs them was" if skipped == 1 else "that need them were"
    by_hand = f", {cancelled} {were(cancelled)} cancelled" if cancelled else ""
    return f"{counted(failed, 'job')} failed{by_hand} and {skipped} {needing} skipped"


def show_tables(
    dirs: Sequence[Path], *, format: str | None = None, wide: bool = False, latex_columns: int = 1, **options: Any
) -> None:
    """Print the leaderboard: as tables of a terminal where there is one, as Markdown elsewhere, unless told."""
    from ...results.leaderboard import leaderboard, show

    if format is None and sys.stdout.isatty():
        from rich.console import Console

        show(dirs, Console(), wide=wide, **options)
    else:
        print(leaderboard(dirs, format=format or "md", latex_columns=latex_columns, **options))


def show_comparison(arguments: argparse.Namespace) -> None:
    """Print the second of two runs against the first: as tables of a terminal where there is one, else as told."""
    from rich.console import Console

    from ...results.leaderboard import compare, typeset
    from ...results.terminal import terminal

    refused = [name for name in ("sort", "pareto", "group", "pivot", "score") if getattr(arguments, name) is not None]
    if len(arguments.dirs) != 2 or refused or arguments.format in ("csv", "json"):
        why = f"is given {len(arguments.dirs)} folders" if len(arguments.dirs) != 2 else "has tables of its own"
        hint = f", without --{refused[0]}" if refused else ""
        raise UserError(f"--compare {why}: give it two, A and B, as a table{hint} (--format md, latex or html)")
    drawn = compare(*arguments.dirs, where=arguments.where, columns=arguments.columns)
    if arguments.format is None and sys.stdout.isatty():
        console = Console()
        lines = terminal(drawn, width=console.width, whole=True, notes=arguments.notes or "short")
        console.print(*lines, sep="\n", highlight=False)
    else:
        options = {"notes": arguments.notes, "latex_columns": arguments.latex_columns, "whole": True}
        print(typeset(drawn, arguments.format or "md", **options))
