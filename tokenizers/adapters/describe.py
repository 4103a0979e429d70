"""What an adapter's tokenizer is, seen by loading it: its declaration, its latents' grids, its cost. No torch here.

A process that has no torch (a plan's) starts another that has, which answers one JSON line per question, and ends with
it: `python -P -m latentbench.tokenizers.adapters.describe`.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ...results.errors import UserError
from ..answers import keep_for_answers
from ..part import plain, read_part
from ..spec import SignalSpec
from ..validation import check
from ..weights import content_digest
from .config import ADAPTERS, AdapterConfig
from .declaration import Description


def describe(config: AdapterConfig, signal: SignalSpec | None, where: str) -> Description:
    """The description of a located adapter; without a `signal` its declaration alone.

    Raises UserError, with `where`, for what can't be loaded, or does not encode and decode such a signal.
    """
    data = plain(config)
    question: dict[str, Any] = {"config": data, "signal": None if signal is None else plain(signal), "path": sys.path}
    question["contents"] = "".join(content_digest(Path(path)) for path in _paths(data))  # files change in between
    try:
        description = _description(json.dumps(question))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    assert description.declaration is not None
    reason = None if signal is None else description.declaration.unsupported_reason(signal)
    if reason is not None:
        raise UserError(f"{where}: {description.class_name}: {reason}")
    return description


def _paths(value: Any) -> list[str]:
    """The absolute paths of files in plain data."""
    if isinstance(value, Mapping):
        return [path for item in value.values() for path in _paths(item)]
    if isinstance(value, list):
        return [path for item in value for path in _paths(item)]
    return [value] if isinstance(value, str) and value.startswith("/") and Path(value).is_file() else []


@lru_cache(maxsize=256)  # errors are not remembered: what was missing may have come since
def _description(question: str) -> Description:
    reply = json.loads(answer(question) if "torch" in sys.modules else _helper().ask(question))
    if "error" in reply:
        raise UserError(reply["error"])
    return Description.from_json(reply)


class _Helper:
    """The process that has torch."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", __name__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.close)

    def ask(self, question: str) -> str:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(question + "\n")
            stdin.flush()
            line = stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise UserError("the process that loads tokenizers has died: is there enough memory?")
        return line

    def close(self) -> None:
        """End it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


@lru_cache(maxsize=1)
def _helper() -> _Helper:
    return _Helper()


def answer(question: str) -> str:
    """The answer to one question, in a process that has torch: a description, or {"error": text}."""
    from .probe import probe

    asked = json.loads(question)
    sys.path += [folder for folder in asked["path"] if folder not in sys.path]
    try:
        config = read_part(AdapterConfig, ADAPTERS, asked["config"], where="adapter")
        signal = None if asked["signal"] is None else check(SignalSpec, asked["signal"], where="signal")
        return json.dumps(asdict(probe(config, signal, asked["contents"])))
    except UserError as error:
        return json.dumps({"error": str(error)})
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        return json.dumps({"error": f"can't be used: {cause}"})


def serve(questions: IO[str], answers: IO[str]) -> None:
    """Answer until there are no more questions."""
    for line in questions:
        answers.write(answer(line) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin, keep_for_answers())
