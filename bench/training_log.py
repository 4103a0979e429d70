"""`curve.jsonl`: a training run's losses over its steps, a line per logged step, for people and plots to follow.

A courtesy: the numbers that count are in the checkpoint and the record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..results.errors import UserError
from ..results.store import atomic_write

CURVE = "curve.jsonl"


class TrainingLog:
    """The file in `folder`, cut back to the `rows` that a checkpoint knows of, and then appended to.

    Lines also have `samples_per_second`, which a row that was lost with a crash lacks.
    """

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
        self.path = folder / CURVE
        before = _rates(self.path)
        lines = [_line(row, before.get(row["step"])) for row in rows]
        with suppress(UserError):  # a folder that can't be written fails at the first checkpoint, where it matters
            atomic_write(self.path, "".join(lines).encode())

    def append(self, row: Mapping[str, float], *, samples_per_second: float) -> None:
        """Add a logged step."""
        with suppress(OSError), self.path.open("a") as file:  # a full disk is reported by what matters
            file.write(_line(row, round(samples_per_second, 1)))


def _line(row: Mapping[str, float], rate: float | None) -> str:
    return json.dumps(dict(row) if rate is None else {**row, "samples_per_second": rate}) + "\n"


def _rates(path: Path) -> dict[float, float]:
    """Samples per second by step, of the lines that are whole."""
    rates: dict[float, float] = {}
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError, KeyError, TypeError, RecursionError):  # a crash may leave anything here
                row = json.loads(line)
                step, rate = row["step"], row["samples_per_second"]
                if isinstance(step, int | float) and isinstance(rate, int | float) and math.isfinite(rate):
                    rates[step] = rate
    return rates
