"""`latentbench plot`: a picture of finished runs. Torch-free."""

from __future__ import annotations

import argparse

from .options import dirs_argument, named_path, where_option

HELP = "columns of finished runs as a picture: lines, bars, heat maps, correlations, frames of clips"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument(
        "--kind",
        default="lines",
        metavar="KIND",
        help="lines, rate-distortion, bars, heatmap, correlation or frames (default: lines)",
    )
    command.add_argument("--x", metavar="COLUMN", help="across: prior_flops, tsr (default: the real rate)")
    command.add_argument("--y", metavar="COLUMN", help="up: psnr, gfd_scattering; of correlation: columns, with commas")
    command.add_argument("--colour", metavar="COLUMN", help="what a heat map shows by --x and --y: psnr")
    command.add_argument("--group", metavar="A,B", help="the columns that make a line each (default: label)")
    where_option(command)
    command.add_argument(
        "--log", default="auto", metavar="auto|none|x|y|xy", help="logarithmic axes (default: FLOPs, and wide spans)"
    )
    command.add_argument("--style", default="paper", metavar="paper|slides", help="how large all is (default: paper)")
    command.add_argument("--out", metavar="FILE", type=named_path, help="a .png, .svg or .pdf (default: Y-over-X.svg)")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.plot import plot

    names = ("x", "y", "colour", "group", "where", "kind", "log", "style", "out")
    print(plot(arguments.dirs, **{name: getattr(arguments, name) for name in names}))
    return 0
