"""Options that several commands take. Torch-free."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path


def suite_options(command: argparse.ArgumentParser) -> None:
    """A suite, and what to change of it."""
    command.add_argument("suite", metavar="SUITE", help="a shipped suite's name, or a TOML file")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="sets",
        help="change the suite: data.path=photos",
    )
    import_option(command)


def import_option(command: argparse.ArgumentParser) -> None:
    """Modules with parts of the user's own."""
    command.add_argument(
        "--import",
        action="append",
        default=[],
        metavar="MODULE",
        dest="imports",
        help="a module, or a FILE.py, that registers parts of your own; workers import it too",
    )


def dirs_argument(command: argparse.ArgumentParser) -> None:
    """The output folders that are read."""
    command.add_argument("dirs", metavar="DIR", nargs="+", type=named_path, help="output folders of runs")


def where_option(command: argparse.ArgumentParser) -> None:
    """Which rows are read."""
    command.add_argument(
        "--where", action="append", default=[], metavar="FILTER", help="keep rows: modality=image, tsr>=12"
    )


def score_option(command: argparse.ArgumentParser) -> None:
    """A fitted score beside what was measured."""
    command.add_argument(
        "--score",
        metavar="SCORE.json",
        type=named_path,
        help="add the column modelability_score, by a score that `calibrate --fit-score` wrote",
    )


def device_options(command: argparse.ArgumentParser) -> None:
    """Where jobs run on this machine."""
    devices_option(command)
    command.add_argument(
        "--jobs-per-device",
        type=positive,
        metavar="N",
        help="jobs at a time on each device (CPU: a core each, no more; GPU: 4 where MPS runs, else 1)",
    )


def devices_option(command: argparse.ArgumentParser) -> None:
    """Which devices; whether they are there is seen where they are used."""
    command.add_argument("--devices", type=devices, default="auto", help="auto, cpu, cuda, or cuda:0,1 (default: auto)")


def devices(text: str) -> str:
    """Devices as `hardware.machine` takes them; raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"auto|cpu|cuda(?::[0-9]+(?:,[0-9]+)*)?", text):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda, or cuda:0,1, got {text!r}")
    return text


def planned_devices(text: str) -> str:
    """Devices as `hardware.planned_machine` takes them; raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"auto|cpu|cuda(?::[0-9]+(?:,[0-9]+)*)?|[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", text):
        expected = "auto, cpu, cuda, or cuda:0,1; or as 8x80: GPUs elsewhere, and the GB of each"
        raise argparse.ArgumentTypeError(f"expected {expected}; got {text!r}")
    return text


def sink_option(command: argparse.ArgumentParser) -> None:
    """Where curves and metrics go as they come."""
    command.add_argument(
        "--sink",
        type=names,
        default=[],
        metavar="NAMES",
        dest="sinks",
        help="tensorboard, wandb, mlflow: told of curves and metrics as they come (default: none)",
    )


def named_path(text: str) -> Path:
    """A file's or folder's name; raises argparse.ArgumentTypeError for none, which would mean the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a name, got nothing")
    return Path(text)


def named(text: str) -> str:
    """A name; raises argparse.ArgumentTypeError for none."""
    return str(named_path(text))


def positive(text: str) -> int:
    """A whole number of at least 1; raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def probability(text: str) -> float:
    """A number between 0 and 1; raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def seconds(text: str) -> float:
    """A time of at least 0; raises argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return value


def pause(text: str) -> float:
    """A time between two looks, long enough to do something else; raises argparse.ArgumentTypeError."""
    value = seconds(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 86400 seconds, got {text!r}")
    return value


def lease(text: str) -> float:
    """A time of at least a second, and a day at most, for which a dead machine's jobs would wait; raises
    argparse.ArgumentTypeError."""
    value = seconds(text)
    if not 1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"expected 1 to 86400 seconds, got {text!r}")
    return value


def names(text: str) -> list[str]:
    """Names with commas between them; raises argparse.ArgumentTypeError."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return names
