"""`latentbench plot`: a picture of finished runs. Torch-free."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import dirs_argument, where_option

HELP = "one column of finished runs over another, as a picture"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument("--x", metavar="COLUMN", help="across: prior_flops, tsr (default: the real rate)")
    command.add_argument("--y", required=True, metavar="COLUMN", help="up: psnr, gfd_scattering")
    command.add_argument(
        "--group", default="label", metavar="A,B", help="the columns that make a line each (default: label)"
    )
    where_option(command)
    command.add_argument(
        "--log", default="auto", metavar="auto|none|x|y|xy", help="logarithmic axes (default: FLOPs, and wide spans)"
    )
    command.add_argument("--out", metavar="FILE", type=Path, help="a .png, .svg or .pdf (default: Y-over-X.svg)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.plot import plot

    options = {name: getattr(arguments, name) for name in ("x", "y", "group", "where", "log", "out")}
    print(plot(arguments.dirs, **options))
    return 0
