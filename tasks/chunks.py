"""What a long pass over samples has collected so far, in a job's folder: a pass that is ended goes on from there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .tensors import save_tensors

PATTERN = "chunk-*.safetensors"  # removed when the job is finished
SECONDS = 30.0  # of work that an end may cost


class Chunks:
    """Rows of tensors by name, collected in order, and numbers that are added up.

    `identity` tells passes apart that must not go on from each other. A chunk is written when `SECONDS` have passed
    since the last; a damaged one, and those after it, count as none.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.done = 0
        self.totals: dict[str, float] = {}
        self._folder, self._identity = folder, json.dumps(identity, sort_keys=True)
        self._rows: dict[str, list[Tensor]] = {}
        self._new: dict[str, list[Tensor]] = {}
        self._number = 0
        self._saved = time.monotonic()
        for path in sorted(folder.glob(PATTERN)):
            if not self._read(path):
                break
        for path in list(folder.glob(PATTERN)):
            if int(path.stem.removeprefix("chunk-")) >= self._number:
                with suppress(OSError):
                    path.unlink()

    def add(self, count: int, rows: Mapping[str, Tensor], totals: Mapping[str, float]) -> None:
        """The next `count` samples' rows, and what they add to the totals. Raises UserError when the disk is full."""
        self.done += count
        for name, tensor in rows.items():
            self._rows.setdefault(name, []).append(tensor)
            self._new.setdefault(name, []).append(tensor)
        for name, number in totals.items():
            self.totals[name] = self.totals.get(name, 0.0) + number
        if time.monotonic() - self._saved >= SECONDS:
            self.save()

    def save(self) -> None:
        """Write what no chunk has yet."""
        facts = {"identity": self._identity, "done": str(self.done), "totals": json.dumps(self.totals)}
        save_tensors(self._folder / f"chunk-{self._number:06d}.safetensors", _joined(self._new.items()), facts)
        self._number += 1
        self._new = {}
        self._saved = time.monotonic()

    def rows(self) -> dict[str, Tensor]:
        """All rows by name."""
        return _joined(self._rows.items())

    def _read(self, path: Path) -> bool:
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            done, totals = int(facts["done"]), json.loads(facts["totals"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return False
        if facts.get("identity") != self._identity or path.stem != f"chunk-{self._number:06d}":
            return False
        for name, tensor in tensors.items():
            self._rows.setdefault(name, []).append(tensor)
        self.done, self.totals = done, totals
        self._number += 1
        return True


def _joined(parts: Iterable[tuple[str, list[Tensor]]]) -> dict[str, Tensor]:
    return {name: torch.cat(tensors) for name, tensors in parts}
