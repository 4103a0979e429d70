"""What a long pass over samples has collected so far, in a job's folder: a pass that is ended goes on from there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .tensors import digest_of, save_tensors

PATTERN = "chunk-*.safetensors"  # removed when the job is finished
SECONDS = 30.0  # of work that an end may cost
FETCHED = 32  # additions between two waits for the device
_STATE = "state."


class Rows:
    """Rows of tensors by name, in order. They may lie on a device: they are fetched once per `FETCHED` additions, not
    at each."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Tensor]] = {}
        self._waiting = 0

    def add(self, rows: Mapping[str, Tensor]) -> None:
        """The next rows."""
        for name, tensor in rows.items():
            self.parts.setdefault(name, []).append(tensor)
        self._waiting += 1
        if self._waiting >= FETCHED:
            self.fetch()

    def fetch(self) -> None:
        """Bring what lies on a device to the CPU, the rows of one name at once."""
        for name, parts in self.parts.items():
            if any(part.device.type != "cpu" for part in parts):
                self.parts[name] = _fetched(parts)
        self._waiting = 0

    def joined(self) -> dict[str, Tensor]:
        """All rows by name, on the CPU."""
        self.fetch()
        return _joined(self.parts)


class Chunks:
    """Rows of tensors by name, collected in order, numbers that are added up, and a state of the caller's own.

    `identity` tells passes apart that must not go on from each other. A chunk is written when `SECONDS` have passed
    since the last; a damaged one, and those after it, count as none.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.done = 0
        self.totals: dict[str, float] = {}
        self._folder, self._identity = folder, json.dumps(identity, sort_keys=True)
        self._rows: dict[str, list[Tensor]] = {}
        self._new = Rows()
        self.state: dict[str, Tensor] = {}
        self._number = 0
        self._saved = time.monotonic()
        for path in sorted(folder.glob(PATTERN)):
            if not self._read(path):
                break
        for path in list(folder.glob(PATTERN)):
            if int(path.stem.removeprefix("chunk-")) >= self._number:
                with suppress(OSError):
                    path.unlink()

    def add(
        self,
        count: int,
        rows: Mapping[str, Tensor],
        totals: Mapping[str, float],
        state: Callable[[], Mapping[str, Tensor]] = dict,
    ) -> None:
        """The next `count` samples' rows, and what they add to the totals. Raises UserError when the disk is full.

        `state` gives what the caller has collected up to here in another way: `self.state` after the next start.
        """
        self.done += count
        self._new.add(rows)
        for name, number in totals.items():
            self.totals[name] = self.totals.get(name, 0.0) + number
        if time.monotonic() - self._saved >= SECONDS:
            self.save(state())

    def save(self, state: Mapping[str, Tensor]) -> None:
        """Write what no chunk has yet."""
        tensors = self._new.joined() | {f"{_STATE}{name}": tensor for name, tensor in state.items()}
        facts = {"identity": self._identity, "done": str(self.done), "totals": json.dumps(self.totals)}
        facts["sha256"] = digest_of(tensors, json.dumps(facts))
        save_tensors(self._folder / f"chunk-{self._number:06d}.safetensors", tensors, facts)
        self._number += 1
        for name, parts in self._new.parts.items():
            self._rows.setdefault(name, []).extend(parts)
        self._new = Rows()
        self._saved = time.monotonic()

    def rows(self) -> dict[str, Tensor]:
        """All rows by name, on the CPU."""
        self._new.fetch()
        new = self._new.parts
        names = dict.fromkeys((*self._rows, *new))
        return _joined({name: [*self._rows.get(name, []), *new.get(name, [])] for name in names})

    def _read(self, path: Path) -> bool:
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = facts.pop("sha256")
            if told != digest_of(tensors, json.dumps({name: facts[name] for name in ("identity", "done", "totals")})):
                return False
            done, totals = int(facts["done"]), json.loads(facts["totals"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return False
        if facts.get("identity") != self._identity or path.stem != f"chunk-{self._number:06d}":
            return False
        self.state = {}
        for name, tensor in tensors.items():
            if name.startswith(_STATE):
                self.state[name.removeprefix(_STATE)] = tensor
            else:
                self._rows.setdefault(name, []).append(tensor)
        self.done, self.totals = done, totals
        self._number += 1
        return True


def _fetched(parts: list[Tensor]) -> list[Tensor]:
    """Parts on the CPU; the ones on a device, which are the last, come as one."""
    here = [part for part in parts if part.device.type == "cpu"]
    return [*here, torch.cat(parts[len(here) :]).cpu()]


def _joined(parts: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat(tensors) for name, tensors in parts.items()}
