"""What `eval` and `check` share: their options, and how these become a suite that is run. Torch-free."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...tokenizers.spec import Modality
from .options import devices_option, import_option, named_path

if TYPE_CHECKING:
    from ..evaluation import EvalRequest
    from ..runner import Outcome


def tokenizer_options(command: argparse.ArgumentParser) -> None:
    """A tokenizer, the data that it is given, and where and how it runs."""
    command.add_argument("tokenizer", metavar="TOKENIZER", help="ADAPTER:PATH, as diffusers:models/vae; or a recipe")
    command.add_argument("--data", default="procedural", metavar="FOLDER|SOURCE", help="default: procedural")
    command.add_argument("--modality", choices=[str(m) for m in Modality], help="where the tokenizer takes several")
    command.add_argument("--size", type=sides, metavar="N|HxW", help="pixels a side, or height x width (default: 256)")
    command.add_argument("--frames", type=int, metavar="N", help="frames of a clip")
    command.add_argument("--seconds", type=float, metavar="S", help="seconds of a sound")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="sets",
        help="tokenizer.bandwidth=6 sets an option of the adapter; others change the suite: data.val=64",
    )
    command.add_argument("--spec", metavar="FILE.toml", help="what the tokenizer does not say of itself")
    command.add_argument("--label", default="", help="what it is called in tables")
    command.add_argument("--allow-download", action="store_true", help="fetch a name of the Hugging Face hub")
    command.add_argument("--trust-pickle", action="store_true", help="read weights that are pickles")
    command.add_argument("--out", metavar="DIR", type=named_path, help="where records go (default: runs/eval)")
    command.add_argument("--engine", default="local", help="where jobs run (default: local)")
    devices_option(command)
    import_option(command)


def sides(text: str) -> int | list[int]:
    """A number, or two as in 240x320."""
    numbers = [int(side) for side in text.split("x")]
    return numbers[0] if len(numbers) == 1 else numbers


def request(arguments: argparse.Namespace, **changes: Any) -> EvalRequest:
    """What the user asks for, as the Python API has it."""
    from ..evaluation import EvalRequest

    texts = ("tokenizer", "data", "modality", "size", "frames", "seconds", "sets", "spec", "label")
    names = (*texts, "allow_download", "trust_pickle")
    return EvalRequest(**{name: getattr(arguments, name) for name in names} | changes)


def run_suite_of(suite: dict[str, Any], arguments: argparse.Namespace) -> Outcome:
    """Run a suite in its output folder, beside what that has already."""
    from ..runner import run_suite

    return run_suite(
        suite,
        out=arguments.out if arguments.out is not None else Path("runs") / suite["name"],
        engine=arguments.engine,
        devices=arguments.devices,
        imports=arguments.imports,
        extend=True,
    )
