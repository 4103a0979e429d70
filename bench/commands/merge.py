"""`latentbench merge`: several runs' folders made one. Torch-free."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "make one folder of several runs'; conflicts are named, and nothing is written then"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dirs", metavar="DIR", nargs="+", type=Path, help="folders of runs, the preferred first")
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="the new folder, or one that goes on")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where damaged records were left out."""
    from ...results.errors import one_line
    from ..console import complain
    from ..merge import ConflictError, merge
    from ..runner import locked

    with locked(arguments.out):
        try:
            merged = merge(arguments.dirs, arguments.out)
        except ConflictError as error:
            for line in error.conflicts:
                complain(one_line(f"conflict: {line}"))
            raise
    for line in merged.damaged:
        complain(one_line(f"left out, damaged: {line}"))
    print(f"{merged.copied} records copied to {arguments.out}, {merged.already} were there already")
    return 1 if merged.damaged else 0
