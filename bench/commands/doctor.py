"""`latentbench doctor`: what this machine offers. Torch-free."""

from __future__ import annotations

import argparse

HELP = "versions, devices, weights, caches"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..doctor import examine

    print(examine())
    return 0
