"""`latentbench publish`: a static board of many runs, and `board.json` for other boards. Torch-free."""

from __future__ import annotations

import argparse

from .options import named_path, where_option

HELP = "a static board of many runs, for any host: tables, history, board.json"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dirs", metavar="DIR", nargs="+", type=named_path, help="output folders of runs, or boards")
    command.add_argument("--out", metavar="FOLDER", type=named_path, required=True, help="the board's folder")
    where_option(command)
    command.add_argument("--reports", action="store_true", help="with a report of each run; needs the extra [report]")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.publish import publish

    print(publish(arguments.dirs, out=arguments.out, where=arguments.where, reports=arguments.reports))
    return 0
