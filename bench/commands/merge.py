"""`latentbench merge`: several runs' folders made one, or several boards. Torch-free."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from .options import named_path

HELP = "make one folder of several runs', or one board of several; conflicts are named, and nothing is written then"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument(
        "dirs", metavar="DIR", nargs="+", type=named_path, help="folders of runs, or boards alone, the preferred first"
    )
    command.add_argument(
        "--out",
        metavar="DIR",
        type=named_path,
        required=True,
        help="the new folder; one of runs may be there and goes on",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where damaged records (or newer ones), or values by sample, were left out."""
    from ...results.errors import LONGEST, one_line
    from ..console import complain
    from ..merge import ConflictError, boards_of

    try:
        left_out = _boards(arguments) if boards_of(arguments.dirs) else _runs(arguments)
    except ConflictError as error:
        for line in error.conflicts:
            complain(one_line(f"conflict: {line}", limit=4 * LONGEST))  # it names two folders
        raise
    for line in left_out:
        complain(one_line(f"left out, {line}"))
    return 1 if left_out else 0


def _runs(arguments: argparse.Namespace) -> list[str]:
    from ...results.display import counted, were
    from ..folder_lock import locked
    from ..merge import merge

    absent = [folder for folder in (arguments.out, *arguments.out.parents) if not folder.exists()]
    with locked(arguments.out):
        try:
            merged = merge(arguments.dirs, arguments.out)
        except BaseException:
            _remove(absent)
            raise
    copied, there = counted(merged.copied, "record"), f"{merged.already} {were(merged.already)} there already"
    print(f"{copied} copied to {arguments.out}, {there}")
    newer = (f"of a newer latentbench: {line}" for line in merged.newer)
    return [
        *_damaged(merged.damaged),
        *newer,
        *(f"a plan, by which nobody can work there: {line}" for line in merged.plans),
    ]


def _remove(folders: list[Path]) -> None:
    """Those that were made for nothing: where something has been written, they stay."""
    from ...results.activity import LOCK

    for folder in folders:
        with suppress(OSError):
            if [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
            folder.rmdir()


def _boards(arguments: argparse.Namespace) -> list[str]:
    from ...results.display import counted
    from ...results.errors import one_line
    from ..console import complain
    from ..merge_boards import merge_boards

    merged = merge_boards(arguments.dirs, arguments.out)
    for line in merged.apart:
        complain(one_line(f"tables of their own: {line}"))
    rows, repeated = counted(merged.rows, "row"), counted(merged.repeated, "repeated one")
    print(f"{rows} of {counted(merged.runs, 'run')} in {arguments.out}; {repeated} left out")
    return _damaged(merged.damaged)


def _damaged(lines: list[str]) -> list[str]:
    return [f"damaged: {line}" for line in lines]
