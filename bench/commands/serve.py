"""`latentbench serve`: the report of a run that is still going on. Torch-free."""

from __future__ import annotations

import argparse

from .options import dirs_argument, where_option

HELP = "the report's page during a run, with progress, curves and the devices' use"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    dirs_argument(command)
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, for this machine alone")
    command.add_argument("--port", type=port, default=8000, metavar="N", help="default: 8000; 0 for any that is free")
    where_option(command)


def port(text: str) -> int:
    """A port's number; raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ...results.report.server import LOOPBACK, serve
    from ..console import complain

    if arguments.host not in LOOPBACK:
        complain(f"latentbench: everybody who reaches {arguments.host} can read this report: there is no password")
    try:
        serve(
            arguments.dirs,
            host=arguments.host,
            port=arguments.port,
            where=arguments.where,
            say=lambda text: print(text, flush=True),
        )
    except KeyboardInterrupt:
        return 0
    return 0
