"""`latentbench gallery`: pictures of what came back. Torch-free."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import dirs_argument, named_path, where_option

HELP = "pictures of finished runs' reconstructions and samples"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument("--out", metavar="FOLDER", type=named_path, default=Path("gallery"), help="default: gallery")
    where_option(command)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.gallery import gallery

    for path in gallery(arguments.dirs, out=arguments.out, where=arguments.where):
        print(path)
    return 0
