"""`latentbench export`: rows as a file for other programs. Torch-free."""

from __future__ import annotations

import argparse

from ..console import complain
from .options import dirs_argument, named_path, where_option

HELP = "a run's rows as a file for other programs"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    where_option(command)
    to = command.add_mutually_exclusive_group(required=True)
    to.add_argument("--parquet", metavar="FILE", type=named_path, help="needs the extra [parquet]")
    to.add_argument("--csv", metavar="FILE", type=named_path)
    command.add_argument(
        "--long", action="store_true", help="a row per cell and metric, with interval, unit, n and protocol"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.display import counted
    from ...results.export import export
    from ...results.filters import select
    from ...results.output_file import is_stdout
    from ...results.rows import rows

    chosen = select(rows(arguments.dirs), arguments.where)
    path = arguments.csv or arguments.parquet
    lines, columns = export(chosen, path, format="csv" if arguments.csv else "parquet", long=arguments.long)
    told = f"{counted(lines, 'row')} of {counted(columns, 'column')}: {path}"
    complain(told) if is_stdout(path) else print(told)
    return 0
