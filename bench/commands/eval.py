"""`latentbench eval`: any tokenizer on any data, as a suite of one entry. Torch-free."""

from __future__ import annotations

import argparse

from .eval_options import request, run_suite_of, tokenizer_options
from .output import report

HELP = "put any tokenizer, pretrained or your own, beside others"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    tokenizer_options(command)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..evaluation import eval_suite

    return report(run_suite_of(eval_suite(request(arguments)), arguments))
