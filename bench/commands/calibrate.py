"""`latentbench calibrate`: which cheap numbers predict generation. Torch-free."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace

from .options import named_path, names, positive, where_option

_OPTIONS = ("outcome", "family", "proxies", "baselines", "fixed", "where", "better", "higher", "lower", "admit")
HELP = "which cheap numbers predict generation: from finished runs, or a CSV"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument(
        "sources",
        metavar="DIR|TABLE.csv",
        nargs="+",
        type=named_path,
        help="output folders of runs, or a CSV (.tsv, .txt)",
    )
    command.add_argument(
        "--outcome", metavar="COLUMN", help="what to predict (default: the log of the leading gFD, and the mean rank)"
    )
    command.add_argument("--family", metavar="COLUMN", help="what makes a family (default: the label; of a CSV none)")
    command.add_argument("--proxies", metavar="A,B*", type=names, help="default: all that is measured of latents")
    command.add_argument("--baselines", metavar="A,B*", type=names, help="default: rate, distortion, size, date")
    command.add_argument(
        "--given", dest="fixed", metavar="A,B", type=names, default=[], help="partial correlations hold these fixed"
    )
    command.add_argument("--better", choices=("lower", "higher"), help="the outcome (default: as runs say; lower)")
    command.add_argument("--higher", metavar="A,B*", type=names, default=[], help="proxies of which more is better")
    command.add_argument("--lower", metavar="A,B*", type=names, default=[], help="proxies of which less is better")
    command.add_argument(
        "--admit",
        choices=("earned", "all"),
        help="of runs: only cells whose prior beats those in closed form (the default), or all",
    )
    command.add_argument(
        "--pairs",
        action="store_true",
        help="also pairs of proxies: the mean of two proxies' ranks, each the better way up",
    )
    command.add_argument(
        "--fit-score",
        metavar="FILE.json",
        type=named_path,
        help="fit a score of few proxies, test it on families left out, and write it; `latentbench score` reads it",
    )
    command.add_argument(
        "--terms", metavar="N", type=positive, default=2, help="proxies in a score, at most (default: 2)"
    )
    command.add_argument(
        "--least-terms",
        metavar="N",
        type=positive,
        default=0,
        help="take so many proxies even where none is certain to help (default: 0)",
    )
    where_option(command)
    command.add_argument("--format", choices=("text", "md", "json"), help="default: text on a terminal, else md")
    command.add_argument(
        "--table",
        metavar="FILE.csv",
        type=named_path,
        help="of runs: write all values of one data set's tokenizers, a line for each seed, to calibrate again from",
    )
    command.add_argument(
        "--plot",
        metavar="FILE",
        type=named_path,
        help="scatter plots (with --fit-score: predicted against measured, of families left out): .png, .svg or .pdf",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from rich.console import Console

    from ...results.calibration.command import calibrations
    from ...results.calibration.picture import draw
    from ...results.calibration.text import markdown, terminal, to_json

    if arguments.table is not None:
        return _write_table(arguments)
    if arguments.fit_score is not None:
        return _fit_score(arguments)
    names = (*_OPTIONS, "pairs")
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


def _write_table(arguments: argparse.Namespace) -> int:
    from ...results.calibration.command import is_table
    from ...results.calibration.table_writer import again, write_table
    from ...results.display import counted
    from ...results.errors import UserError

    if any(is_table(path) for path in arguments.sources):
        raise UserError("--table writes the values of runs: give their folders, not a CSV")
    others = {"--fit-score": arguments.fit_score, "--plot": arguments.plot, "--format": arguments.format}
    others |= {"--better": arguments.better, "--admit": arguments.admit, "--pairs": arguments.pairs or None}
    if extra := [option for option, value in others.items() if value is not None]:
        raise UserError(f"--table writes values, those of all tokenizers: leave out {', '.join(extra)}")
    names = ("outcome", "family", "proxies", "baselines", "fixed", "where", "higher", "lower")
    lines = write_table(arguments.table, arguments.sources, **{name: getattr(arguments, name) for name in names})
    told = f"{arguments.table}: {counted(lines, 'line')}, of all tokenizers."
    print(f"{told} By its outcome they are calibrated as the runs are by")
    print(f"  {shlex.join(again(arguments.table))}")
    return 0


def _fit_score(arguments: argparse.Namespace) -> int:
    from ...results.calibration.command import observations, of_one_outcome
    from ...results.calibration.predicted import check_format, draw_predicted
    from ...results.calibration.score import fit_score
    from ...results.calibration.score_file import summary, to_json
    from ...results.calibration.stopping import pair_margins
    from ...results.errors import UserError
    from ...results.output_file import write_output

    if arguments.pairs or arguments.format is not None:
        raise UserError("--fit-score writes a score, and no table: leave out --pairs and --format")
    if arguments.least_terms > arguments.terms:
        raise UserError(f"--least-terms {arguments.least_terms}: more than --terms {arguments.terms}")
    if arguments.plot is not None:
        check_format(arguments.plot)
    tables = observations(arguments.sources, **{name: getattr(arguments, name) for name in _OPTIONS})
    first = of_one_outcome(tables)
    numbers = {"terms": arguments.terms, "least": arguments.least_terms}
    score = fit_score(first, **numbers)
    score = replace(score, margins=pair_margins(first, **numbers) if score.terms else ())
    write_output(arguments.fit_score, to_json(score, first).encode())
    notes = dict.fromkeys(f"- {note}" for table in first for note in table.notes)
    print("\n".join([*summary(score), *(["", *notes] if notes else []), "", str(arguments.fit_score)]))
    if arguments.plot is not None:
        print(draw_predicted(score, first, arguments.plot))
    return 0
