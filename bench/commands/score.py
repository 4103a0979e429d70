"""`latentbench score`: which tokenizers deserve a full prior, by a fitted score. Torch-free."""

from __future__ import annotations

import argparse

from .options import dirs_argument, named_path, positive, where_option

HELP = "which tokenizers deserve a full prior, by a score that calibrate fitted: from runs that need none"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("score", metavar="SCORE.json", type=named_path, help="what calibrate --fit-score wrote")
    dirs_argument(command)
    where_option(command)
    command.add_argument("--best", metavar="N", type=positive, default=3, help="how many to name (default: 3)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.calibration.ranking import ranking

    print("\n".join(ranking(arguments.score, arguments.dirs, where=arguments.where, best=arguments.best)))
    return 0
