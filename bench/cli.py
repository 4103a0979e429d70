"""The command line. Torch-free: only a run's worker processes import torch.

Exit codes: 0 done; 1 done, but some cells failed; 2 a mistake that the user can mend (one line says which);
130 interrupted (Ctrl-C, SIGTERM), with checkpoints written.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import io
import math
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..results.errors import UserError, one_line
from .signals import ignore_interrupts

if TYPE_CHECKING:
    from .runner import Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """The `latentbench` command; returns its exit code."""
    # A cluster's scheduler ends jobs with SIGTERM, a closed terminal with SIGHUP: checkpoint then, as for Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, signal.default_int_handler)
    _tame_streams()
    try:
        arguments = _parser().parse_args(argv)
        code = int(arguments.action(arguments))
        sys.stdout.flush()  # a closed pipe raises here rather than at exit
        return code
    except UserError as error:
        _complain(f"latentbench: {one_line(str(error))}")
        return 2
    except KeyboardInterrupt:
        ignore_interrupts()  # whoever presses Ctrl-C five times sees one line
        _complain("latentbench: interrupted; the same command continues where it stopped")
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        _silence(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _silence(sys.stdout)  # what is left in its buffer would fail again at exit
        _complain(f"latentbench: cannot write to standard output: {error.strerror}")
        return 2


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def _tame_streams() -> None:
    """Have the standard streams there, and able to show any text: closed ones lead nowhere, ASCII ones escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    atexit.unregister(_settle_streams)
    atexit.register(_settle_streams)


def _settle_streams() -> None:
    """Let nothing be left in a stream that can't be written to: Python would exit with 120 in the place of our code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _silence(stream)


def _complain(line: str) -> None:
    """A line to standard error, which may be closed or lie on a full disk; the exit code says it too."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Lead a stream nowhere, so that what it still holds is lost without another error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Parser(argparse.ArgumentParser):
    """argparse with the project's way of reporting: one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        _complain(one_line(f"{self.prog}: {message} (see {self.prog} --help)"))
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="latentbench",
        description="Benchmark tokenizers of image, video and audio generators: rate, distortion, modelability.",
    )
    parser.add_argument("--version", action="version", version=f"latentbench {version('latentbench')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, action, text in (
        ("run", _run, "run a suite, or go on with it"),
        ("eval", _eval, "put any tokenizer, pretrained or your own, beside others"),
        ("check", _check, "check what every task takes for granted of somebody else's tokenizer"),
        ("plan", _plan, "show a suite's cells: TSR, elements, most bits, predicted cost; trains nothing"),
        ("leaderboard", _leaderboard, "tables from finished runs"),
        ("bd-rate", _bd_rate, "how many more bits a rate-distortion curve takes than another at equal quality"),
        ("plot", _plot, "one column of finished runs over another, as a picture"),
        ("calibrate", _calibrate, "which cheap numbers predict generation: from finished runs, or a CSV"),
        ("gallery", _gallery, "pictures of finished runs' reconstructions and samples"),
        ("statistics", _statistics, "write a data set's statistics as an .npz, for this and other programs"),
        ("list", _list, "what there is by name"),
        ("doctor", _doctor, "versions, devices, weights, caches"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        _OPTIONS[name](command)
    return parser


def _suite_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("suite", metavar="SUITE", help="a shipped suite's name, or a TOML file")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="sets",
        help="change the suite: data.path=photos",
    )
    _import_option(command)


def _import_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--import",
        action="append",
        default=[],
        metavar="MODULE",
        dest="imports",
        help="a module, or a FILE.py, that registers parts of your own; workers import it too",
    )


def _run_options(command: argparse.ArgumentParser) -> None:
    _suite_options(command)
    command.add_argument("--out", metavar="DIR", help="where records go (default: runs/<suite>)")
    command.add_argument("--engine", default="local", help="where jobs run (default: local)")
    command.add_argument("--devices", default="auto", help="auto, cpu, cuda, or cuda:0,1 (default: auto)")
    command.add_argument(
        "--jobs-per-device",
        type=_positive,
        metavar="N",
        help="jobs at a time on each device (CPU: a core each; GPU: 4)",
    )
    command.add_argument(
        "--checkpoint-seconds",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds between checkpoints (default: 30)",
    )
    command.add_argument(
        "--stall",
        type=_seconds,
        metavar="MINUTES",
        help="end and begin again a job without a sign of life for so long (default: 30, or 20 times its own pace)",
    )


def _check_options(command: argparse.ArgumentParser) -> None:
    from .eval_command import check_options

    check_options(command)
    _import_option(command)


def _plan_options(command: argparse.ArgumentParser) -> None:
    _suite_options(command)
    command.add_argument("--format", choices=("text", "json"), default="text")


def _leaderboard_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("dirs", metavar="DIR", nargs="+", type=Path, help="output folders of runs")
    command.add_argument(
        "--format",
        choices=("md", "csv", "json", "latex", "html"),
        help="default: a table for the terminal; md in a pipe or file",
    )
    command.add_argument("--sort", metavar="COLUMN", help="the column that ranks and orders the rows")
    command.add_argument(
        "--where", action="append", default=[], metavar="FILTER", help="keep rows: modality=image, tsr>=12"
    )
    command.add_argument("--columns", metavar="A,B,C|all", help="which columns, in which order")
    command.add_argument("--wide", action="store_true", help="on a terminal: all columns and notes, however many")
    command.add_argument("--pareto", metavar="A,B", help="the two columns of the Pareto front that is marked")


def _bd_rate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("dirs", metavar="DIR", nargs="+", type=Path, help="output folders of runs")
    command.add_argument("--metric", metavar="COLUMN", help="the quality (default: the one that ranks the table)")
    command.add_argument("--anchor", metavar="CURVE", help="the curve to compare with (default: the first)")
    command.add_argument(
        "--group", default="label", metavar="A,B", help="the columns that make a curve each (default: label)"
    )
    command.add_argument("--rate", metavar="COLUMN", help="the bits (default: the real rate)")
    command.add_argument(
        "--where", action="append", default=[], metavar="FILTER", help="keep rows: modality=image, tsr>=12"
    )
    command.add_argument("--format", choices=("md", "json"), default="md")


def _plot_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("dirs", metavar="DIR", nargs="+", type=Path, help="output folders of runs")
    command.add_argument("--x", metavar="COLUMN", help="across: prior_flops, tsr (default: the real rate)")
    command.add_argument("--y", required=True, metavar="COLUMN", help="up: psnr, gfd_scattering")
    command.add_argument(
        "--group", default="label", metavar="A,B", help="the columns that make a line each (default: label)"
    )
    command.add_argument(
        "--where", action="append", default=[], metavar="FILTER", help="keep rows: modality=image, tsr>=12"
    )
    command.add_argument(
        "--log", default="auto", metavar="auto|none|x|y|xy", help="logarithmic axes (default: FLOPs, and wide spans)"
    )
    command.add_argument("--out", metavar="FILE", type=Path, help="a .png, .svg or .pdf (default: Y-over-X.svg)")


def _calibrate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "sources", metavar="DIR|TABLE.csv", nargs="+", type=Path, help="output folders of runs, or a CSV"
    )
    command.add_argument(
        "--outcome", metavar="COLUMN", help="what to predict (default: the log of the leading gFD, and the mean rank)"
    )
    command.add_argument("--family", metavar="COLUMN", help="what makes a family (default: the label; of a CSV none)")
    command.add_argument("--proxies", metavar="A,B*", type=_names, help="default: all that is measured of latents")
    command.add_argument("--baselines", metavar="A,B*", type=_names, help="default: rate, distortion, size, date")
    command.add_argument(
        "--given", metavar="A,B", type=_names, default=[], help="partial correlations hold these fixed"
    )
    command.add_argument("--better", choices=("lower", "higher"), default="lower", help="of a CSV's outcome")
    command.add_argument("--higher", metavar="A,B", type=_names, default=[], help="proxies of which more is better")
    command.add_argument("--lower", metavar="A,B", type=_names, default=[], help="proxies of which less is better")
    command.add_argument(
        "--where", action="append", default=[], metavar="FILTER", help="keep rows: modality=image, tsr>=12"
    )
    command.add_argument("--format", choices=("text", "md", "json"), help="default: text on a terminal, else md")
    command.add_argument("--plot", metavar="FILE", type=Path, help="scatter plots: a .png, .svg or .pdf")


def _gallery_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("dirs", metavar="DIR", nargs="+", type=Path, help="output folders of runs")
    command.add_argument("--out", metavar="FOLDER", type=Path, default=Path("gallery"), help="default: gallery")
    command.add_argument(
        "--where", action="append", default=[], metavar="FILTER", help="keep rows: modality=image, tsr>=12"
    )


def _statistics_options(command: argparse.ArgumentParser) -> None:
    _suite_options(command)
    command.add_argument("--data", metavar="LABEL", help="the suite's data set (default: its only one)")
    command.add_argument("--split", choices=("train", "val"), default="val", help="default: val")
    command.add_argument("--net", default="inception", metavar="NET", help="default: inception")
    command.add_argument(
        "--pictures", action="store_true", help="write the pictures (arr_0), as ADM's evaluator reads them, not moments"
    )
    command.add_argument("--device", default="cpu", help="where the net runs (default: cpu)")
    command.add_argument("--out", metavar="FILE", type=Path, required=True, help="the .npz")


def _list_options(command: argparse.ArgumentParser) -> None:
    from .catalogue import SYNONYMS, TOPICS

    _import_option(command)
    command.add_argument("topic", nargs="?", choices=(*TOPICS, *SYNONYMS), metavar="|".join(TOPICS))
    command.add_argument(
        "--runs", type=Path, metavar="DIR", help="systems: a run of the suite `systems`, or a folder of runs"
    )
    command.add_argument("--format", choices=("text", "md"), default="text", help="systems: as text or Markdown")


_OPTIONS = {
    "run": _run_options,
    "eval": _check_options,
    "check": _check_options,
    "plan": _plan_options,
    "leaderboard": _leaderboard_options,
    "bd-rate": _bd_rate_options,
    "plot": _plot_options,
    "calibrate": _calibrate_options,
    "gallery": _gallery_options,
    "statistics": _statistics_options,
    "list": _list_options,
    "doctor": lambda command: None,
}


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, got {text!r}")
    return value


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return names


def _run(arguments: argparse.Namespace) -> int:
    from .runner import run_suite

    outcome = run_suite(
        arguments.suite,
        sets=arguments.sets,
        out=arguments.out,
        engine=arguments.engine,
        devices=arguments.devices,
        jobs_per_device=arguments.jobs_per_device,
        checkpoint_seconds=arguments.checkpoint_seconds,
        imports=arguments.imports,
        stall_minutes=arguments.stall,
    )
    return _report(outcome)


def _eval(arguments: argparse.Namespace) -> int:
    from .eval_command import run_eval

    return _report(run_eval(arguments))


def _check(arguments: argparse.Namespace) -> int:
    from .eval_command import run_check

    text, well = run_check(arguments)
    print(text)
    return 0 if well else 1


def _report(outcome: Outcome) -> int:
    """Print a run's tables, and say what has failed; returns the exit code."""
    _show_tables([outcome.root], suite=outcome.suite.name)
    print(f"\nrecords: {outcome.root}; this table again: latentbench leaderboard {outcome.root}")
    if outcome.failed:
        logs = ", ".join(map(str, outcome.logs[:3])) + (", ..." if len(outcome.logs) > 3 else "")
        jobs = "1 job" if outcome.failed == 1 else f"{outcome.failed} jobs"
        _complain(f"latentbench: {jobs} failed and {outcome.skipped} that need them were skipped; logs: {logs}")
    return 1 if outcome.failed else 0


def _plan(arguments: argparse.Namespace) -> int:
    from .catalogue import plan_text
    from .data_counts import planned_counts
    from .imports import load_imports
    from .plan import make_plan
    from .progress import StderrConsole
    from .suite import load_suite

    load_imports(arguments.imports)
    suite = load_suite(arguments.suite, arguments.sets)
    make_plan(suite, {})  # refuses what is wrong with the suite before the data are read
    fingerprints, counts = planned_counts(suite, StderrConsole())
    plan = make_plan(suite, fingerprints, {label: (known.train, known.val) for label, known in counts.items()})
    for warning in plan.warnings:
        _complain(one_line(f"warning: {warning}"))
    print(plan_text(plan, arguments.format, counts))
    return 0


def _leaderboard(arguments: argparse.Namespace) -> int:
    options = {name: getattr(arguments, name) for name in ("format", "sort", "where", "columns", "pareto")}
    _show_tables(arguments.dirs, wide=arguments.wide, **options)
    return 0


def _show_tables(dirs: Sequence[Path], *, format: str | None = None, wide: bool = False, **options: Any) -> None:
    """Print the leaderboard: as tables of a terminal where there is one, as Markdown elsewhere, unless told."""
    from rich.console import Console

    from ..results.leaderboard import leaderboard, show

    if format is None and sys.stdout.isatty():
        show(dirs, Console(), wide=wide, **options)
    else:
        print(leaderboard(dirs, format=format or "md", **options))


def _bd_rate(arguments: argparse.Namespace) -> int:
    from ..results.bd_table import bd_rate_text

    options = {name: getattr(arguments, name) for name in ("metric", "anchor", "group", "rate", "where", "format")}
    print(bd_rate_text(arguments.dirs, **options))
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    from ..results.plot import plot

    options = {name: getattr(arguments, name) for name in ("x", "y", "group", "where", "log", "out")}
    print(plot(arguments.dirs, **options))
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from ..results.calibration.command import calibrations
    from ..results.calibration.picture import draw
    from ..results.calibration.text import markdown, terminal, to_json

    names = ("outcome", "family", "proxies", "baselines", "given", "where", "better", "higher", "lower")
    results = calibrations(arguments.sources, **{name: getattr(arguments, name) for name in names})
    pictures = draw(results, arguments.plot) if arguments.plot is not None else []
    if arguments.format == "json":
        print(to_json(results), end="")
        return 0
    if arguments.format == "text" or (arguments.format is None and sys.stdout.isatty()):
        console = Console()
        for result in results:
            console.print(*terminal(result, console.width), sep="\n", highlight=False)
    else:
        print("\n".join(markdown(result) for result in results), end="")
    for path in pictures:
        print(path)
    return 0


def _gallery(arguments: argparse.Namespace) -> int:
    from ..results.gallery import gallery

    for path in gallery(arguments.dirs, out=arguments.out, where=arguments.where):
        print(path)
    return 0


def _statistics(arguments: argparse.Namespace) -> int:
    from .statistics_command import write_statistics

    options = {name: getattr(arguments, name) for name in ("data", "split", "net", "pictures", "device", "out")}
    print(write_statistics(arguments.suite, arguments.sets, imports=arguments.imports, **options))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from .catalogue import listing
    from .imports import load_imports
    from .systems import systems_markdown, systems_text

    load_imports(arguments.imports)
    if arguments.topic == "systems":
        print((systems_markdown if arguments.format == "md" else systems_text)(arguments.runs))
        return 0
    if arguments.runs is not None or arguments.format != "text":
        raise UserError("--runs and --format are for `latentbench list systems`")
    print(listing(arguments.topic))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from .doctor import examine

    print(examine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
