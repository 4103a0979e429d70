"""`latentbench list`: what there is by name. Torch-free."""

from __future__ import annotations

import argparse

from ...results.errors import UserError
from .options import import_option, named_path

HELP = "what there is by name"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    from ..catalogue import SYNONYMS, TOPICS

    import_option(command)
    command.add_argument("topic", nargs="?", choices=(*TOPICS, *SYNONYMS), metavar="|".join(TOPICS))
    command.add_argument(
        "--runs", type=named_path, metavar="DIR", help="systems: a run of the suite `systems`, or a folder of runs"
    )
    command.add_argument("--format", choices=("text", "md"), default="text", help="systems: as text or Markdown")


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..catalogue import listing
    from ..imports import load_imports
    from ..systems import systems_markdown, systems_text

    load_imports(arguments.imports)
    if arguments.topic == "systems":
        print((systems_markdown if arguments.format == "md" else systems_text)(arguments.runs))
        return 0
    if arguments.runs is not None or arguments.format != "text":
        raise UserError("--runs and --format are for `latentbench list systems`")
    print(listing(arguments.topic))
    return 0
