"""`latentbench submit-check`: what a run lacks before it is published. Torch-free."""

from __future__ import annotations

import argparse

from .options import named_path

HELP = "what a run lacks before it is published: cells, seeds, versions, hashes"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("dir", metavar="DIR", type=named_path, help="the output folder of a run")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code: 1 where something is missing."""
    from ...results.errors import one_line
    from ...results.submission import submission_gaps

    gaps = submission_gaps(arguments.dir)
    for line in gaps:
        print(one_line(line))
    things = "1 thing is" if len(gaps) == 1 else f"{len(gaps)} things are"
    print(f"{things} missing" if gaps else "complete: nothing is missing")
    return 1 if gaps else 0
