"""`latentbench statistics`: a data set's statistics for other programs. Torch-free until it runs."""

from __future__ import annotations

import argparse

from .options import named_path, suite_options

HELP = "write a data set's statistics as an .npz, for this and other programs"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    suite_options(command)
    command.add_argument("--data", metavar="LABEL", help="the suite's data set (default: its only one)")
    command.add_argument("--split", choices=("train", "val"), default="val", help="default: val")
    command.add_argument("--net", default="inception", metavar="NET", help="default: inception")
    command.add_argument(
        "--pictures", action="store_true", help="write the pictures (arr_0), as ADM's evaluator reads them, not moments"
    )
    command.add_argument("--device", default="cpu", help="where the net runs (default: cpu)")
    command.add_argument("--out", metavar="FILE", type=named_path, required=True, help="the .npz")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..npz_statistics import write_statistics

    options = {name: getattr(arguments, name) for name in ("data", "split", "net", "pictures", "device", "out")}
    print(write_statistics(arguments.suite, arguments.sets, imports=arguments.imports, **options))
    return 0
