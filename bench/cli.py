"""The command line. Torch-free: only a run's worker processes import torch.

Exit codes: 0 done; 1 done, but some cells failed; 2 a mistake that the user can mend (one line says which);
130 interrupted (Ctrl-C, SIGTERM), with checkpoints written.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Sequence

from ..results.errors import UserError, one_line
from .commands import COMMANDS
from .console import UNWRITABLE, complain, silence, tame_streams
from .launcher import launched
from .signals import ignore_interrupts


def main(argv: Sequence[str] | None = None) -> int:
    """The `latentbench` command; returns its exit code."""
    # A cluster's scheduler ends jobs with SIGTERM, a closed terminal with SIGHUP: checkpoint then, as for Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, signal.default_int_handler)
    tame_streams()
    try:
        words = sys.argv[1:] if argv is None else argv
        arguments = _parser(next((word for word in words if not word.startswith("-")), "")).parse_args(words)
        if (launch := launched()) is not None:
            if launch.rank:
                return 0
            launch.refuse_machines()
        code = int(arguments.action(arguments))
        sys.stdout.flush()  # a closed pipe raises here rather than at exit
        if argv is None:
            gc.freeze()  # the process ends: no search for cycles among what it read
        return code
    except UserError as error:
        complain(f"latentbench: {one_line(str(error))}")
        return 2
    except KeyboardInterrupt:
        ignore_interrupts()  # whoever presses Ctrl-C five times sees one line
        complain("latentbench: interrupted; the same command continues where it stopped")
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        silence(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        silence(sys.stdout)  # what is left in its buffer would fail again at exit
        complain(f"latentbench: cannot write to standard output: {error.strerror}")
        return 2


class _Version(argparse.Action):
    """As argparse's own, which asks for the version, and for what reads it, whenever a parser is made."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"latentbench {version('latentbench')}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """argparse with the project's way of reporting: one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        complain(one_line(f"{self.prog}: {message} (see {self.prog} --help)"))
        raise SystemExit(2)


def _parser(named: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or with the options of the `named` one alone: others' take half a second to import.

    No option before the command takes a value, so its first word without a dash is the command.
    """
    parser = _Parser(
        prog="latentbench",
        description="Benchmark tokenizers of image, video and audio generators: rate, distortion, modelability.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.set_defaults(action=module.run)
        if named is None or name == named:
            module.add_options(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
