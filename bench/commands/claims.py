"""`latentbench claims`: what finished runs say of the claims of their suites. Torch-free."""

from __future__ import annotations

import argparse
import sys

from .options import dirs_argument, where_option

HELP = "what finished runs say of the [[claims]] of their suites: confirmed, refuted or undecided"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    where_option(command)
    command.add_argument("--format", choices=("text", "md", "json"), help="default: text on a terminal, else md")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..claimed import judged, to_json, to_markdown, to_text

    items = judged(arguments.dirs, arguments.where)
    form = arguments.format or ("text" if sys.stdout.isatty() else "md")
    print({"text": to_text, "md": to_markdown, "json": to_json}[form](items))
    return 0
