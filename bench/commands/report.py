"""`latentbench report`: one page to explore. Torch-free."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from .options import dirs_argument, named_path, score_option, where_option

HELP = "one page of finished runs to explore, offline: charts, tables, pictures, sounds"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument(
        "--out",
        metavar="FOLDER|FILE.html",
        type=named_path,
        default=Path("report"),
        help="a folder, or one file that holds everything (default: report)",
    )
    where_option(command)
    score_option(command)
    command.add_argument(
        "--media",
        metavar="MIB",
        type=mebibytes,
        help="the most pictures and sounds, in MiB (default: 256 of a folder, 24 of a file)",
    )


def mebibytes(text: str) -> float:
    """A size of at least 0; raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of MiB, got {text!r}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.report.build import report

    options = {name: getattr(arguments, name) for name in ("out", "where", "media", "score")}
    print(report(arguments.dirs, **options))
    return 0
