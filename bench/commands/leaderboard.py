"""`latentbench leaderboard`: tables of finished runs. Torch-free."""

from __future__ import annotations

import argparse

from .options import dirs_argument, score_option, where_option
from .output import show_comparison, show_tables

HELP = "tables from finished runs"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument(
        "--format",
        choices=("md", "csv", "json", "latex", "html"),
        help="default: a table for the terminal; md in a pipe or file",
    )
    command.add_argument("--sort", metavar="COLUMN", help="the column that ranks and orders the rows")
    where_option(command)
    command.add_argument("--columns", metavar="A,B,C|all", help="which columns, in which order")
    command.add_argument("--wide", action="store_true", help="on a terminal: all columns and notes, however many")
    command.add_argument("--group", metavar="A,B", help="a table for each value of these columns: tsr, recipe")
    command.add_argument(
        "--pivot", metavar="A,B", help="a grid of the metric --sort over two columns: downsample,channels"
    )
    command.add_argument(
        "--compare", action="store_true", help="the second of two DIRs against the first, with paired differences"
    )
    command.add_argument(
        "--notes",
        choices=("short", "full", "none"),
        help="below tables (default: short on a terminal and in LaTeX, else full)",
    )
    command.add_argument(
        "--latex-columns",
        type=int,
        choices=(1, 2),
        default=1,
        help="columns of the paper's page: a table is as wide as one (default: 1)",
    )
    score_option(command)
    command.add_argument("--pareto", metavar="A,B", help="the two columns of the Pareto front that is marked")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    if arguments.compare:
        show_comparison(arguments)
        return 0
    names = ("format", "sort", "where", "columns", "pareto", "group", "pivot", "notes", "score")
    options = {name: getattr(arguments, name) for name in names}
    show_tables(arguments.dirs, wide=arguments.wide, latex_columns=arguments.latex_columns, **options)
    return 0
