"""`latentbench gc`: free what no record needs. Torch-free."""

from __future__ import annotations

import argparse
import sys

from .options import named_path

HELP = "free what no record of a run's folder needs; says how much, and asks"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dir", metavar="DIR", type=named_path, help="the run's --out folder")
    command.add_argument("--yes", action="store_true", help="without asking")
    command.add_argument("--list", action="store_true", help="name each file and folder, and remove nothing")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.display import printable
    from ...results.errors import UserError
    from ..collect import remove, waste
    from ..folder_lock import locked

    if not arguments.dir.is_dir():
        raise UserError(f"{arguments.dir}: no such folder; expected the --out folder of a run")
    with locked(arguments.dir, option=""):
        wasted = waste(arguments.dir)
        if arguments.list:
            for item in wasted:
                print(f"{item.size:>14,}  {printable(str(item.path))}  ({item.why})")
        for why in dict.fromkeys(item.why for item in wasted):
            of_it = [item for item in wasted if item.why == why]
            print(f"{len(of_it)} {why}: {sum(item.size for item in of_it) / 1e6:,.1f} MB")
        if not wasted:
            print("nothing to free")
        if not wasted or arguments.list:
            return 0
        if not arguments.yes and not _agreed():
            print("nothing was removed")
            return 0
        remove(wasted)
        print(f"freed {sum(item.size for item in wasted) / 1e6:,.1f} MB")
    return 0


def _agreed() -> bool:
    print("remove all of it? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
