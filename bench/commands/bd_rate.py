"""`latentbench bd-rate`: bjøntegaard's rate between curves of finished runs. Torch-free."""

from __future__ import annotations

import argparse

from .options import dirs_argument, where_option

HELP = "how many more bits a rate-distortion curve takes than another at equal quality"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument("--metric", metavar="COLUMN", help="the quality (default: the one that ranks the table)")
    command.add_argument("--anchor", metavar="CURVE", help="the curve to compare with (default: the first)")
    command.add_argument(
        "--group", default="label", metavar="A,B", help="the columns that make a curve each (default: label)"
    )
    command.add_argument("--rate", metavar="COLUMN", help="the bits (default: the real rate)")
    where_option(command)
    command.add_argument("--format", choices=("md", "json"), default="md")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.bd_table import bd_rate_text

    options = {name: getattr(arguments, name) for name in ("metric", "anchor", "group", "rate", "where", "format")}
    print(bd_rate_text(arguments.dirs, **options))
    return 0
