"""How many files and samples a suite's data sets have, known before anything is trained. Torch-free.

A data set that lies somewhere (`data.path`) is decoded into the cache to be counted, which the run needs anyway; a
process of its own does that, since decoding images needs torch. A plan of many files decodes a few of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..results.display import files_line, printable
from ..results.errors import UserError
from ..results.garbage import keep_what_forks_inherit
from ..results.record import Record
from ..tasks.metrics.config import scores
from .datasets import DataConfig, decode, default_cache, fingerprint, in_cache
from .datasets.config import FILES
from .datasets.few import look_at_few
from .datasets.files import PASSED_OVER
from .datasets.source import Progress
from .kinds.generation import Generation
from .kinds.reconstruction import Reconstruction
from .kinds.reference import serving
from .presets import check_count
from .suite import Suite

# Two samples have a mean and a covariance; with fewer, distances would fail after all training.
_FEWEST = 2
_DISTANCES = "Fréchet and kernel distances need"


@dataclass(frozen=True, kw_only=True)
class DataCounts:
    """A data set's samples by split and, where it consists of files, how many were used and why others were not.

    `files` has files, used, skipped and duplicates (empty for data without files); `reasons` the skipped ones by
    reason. `looked_at` is the number of files that were decoded where the others' fate is inferred from theirs,
    `passed_over` a few words on files of other kinds in the folder.
    """

    train: int
    val: int
    files: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    looked_at: int | None = None
    passed_over: str = ""

    @property
    def text(self) -> str:
        """One line for people: "81 files: 7 used, 73 skipped (73 too short), 1 duplicate; 6 training and ..."."""
        return "; ".join(filter(None, [self._counted, self.passed_over]))

    @property
    def _counted(self) -> str:
        if self.looked_at is not None:
            bad = sum(self.reasons.values())
            listed = f" ({', '.join(f'{n} {reason}' for reason, n in self.reasons.items())})" if bad else ""
            return (
                f"{self.files['files']} files, of which {self.looked_at} were decoded: {self.looked_at - bad} can be "
                f"used, {bad} not{listed}; about {self.train} training and {self.val} validation samples"
            )
        return files_line({**self.files, "train": self.train, "val": self.val}, self.reasons)

    def to_json(self) -> dict[str, Any]:
        """The counts as a plan shows them to programs."""
        facts = {"train": self.train, "val": self.val, **self.files, "reasons": dict(self.reasons)}
        more = {"looked_at": self.looked_at, "passed_over": self.passed_over or None}
        return facts | {name: value for name, value in more.items() if value is not None}


def fingerprints(suite: Suite, console: Console, cache: Path) -> dict[str, str]:
    """The fingerprint of each data set of the suite, by its label. Raises UserError for data that are not there."""
    result = {}
    for data in suite.data:
        with console.status(Text(f"reading {printable(data.label)}")):  # shows nothing where there is no terminal
            result[data.label] = fingerprint(data, cache=cache)
    return result


def count(
    data: DataConfig, *, cache: Path, fingerprint: str, console: Console, whole: bool = True
) -> DataCounts | None:
    """The counts of a data set, decoded if it has a path and is not in the cache; None where only its job can tell.

    Without `whole`, a few of many files are decoded and the counts inferred. Raises UserError when nothing of it can be
    used.
    """
    if data.kind == "procedural" and data.samples is not None and isinstance(data.val, int):
        return DataCounts(train=data.samples, val=data.val)
    if not data.path:
        return None
    decoded = data.stream or in_cache(data, cache=cache, fingerprint=fingerprint)
    if not whole and data.kind in FILES and not decoded:
        counts = _apart(console, data, partial(look_at_few, data, cache=cache))
        if counts is not None:
            return DataCounts(**json.loads(counts))
    return _read(Path(_apart(console, data, partial(_decode, data, cache, fingerprint)) or ""))


def recorded(record: Record | None) -> DataCounts | None:
    """The counts in the record of a data job; None where there is none that has them."""
    extra = record.extra if record is not None else {}
    counts = extra.get("counts")
    if not isinstance(counts, Mapping) or not {"train", "val"} <= counts.keys():
        return None
    files = {name: number for name, number in counts.items() if name not in ("train", "val")}
    return DataCounts(
        train=counts["train"],
        val=counts["val"],
        files=files,
        reasons=extra.get("reasons", {}),
        passed_over=_passed_over(extra.get("notes", ())),
    )


def check_counts(suite: Suite, counts: Mapping[str, DataCounts]) -> None:
    """Raises UserError for a split that is too small for what it is to be compared with, or not as large as the suite's
    protocol has it."""
    for i, data in enumerate(suite.data):
        if suite.protocol is not None and data.label in counts:
            of_data = counts[data.label]
            check_count(suite.protocol, data.label, of_data.val, of_data.text, f"{suite.where}: data[{i}]")
    distances = (_FEWEST, _DISTANCES)
    needs = {"val": distances} if Reconstruction.name in suite.tasks else {}
    if Generation.name in suite.tasks:
        options = suite.options[Generation.name]
        asked = [(scores.get(name).fewest, f"generation.scores = {name} needs") for name in options.scores]
        needs[options.reference] = max([distances, *asked], key=lambda need: need[0])
    for i, data in enumerate(suite.data):
        known = counts.get(data.label)
        if known is None or not serving(suite, data):
            continue
        for split, name in (("val", "validation"), ("train", "training")):
            number, (fewest, what) = getattr(known, split), needs.get(split, (0, ""))
            if number < fewest:
                key = "data.val" if split == "val" else "data.samples"
                raise UserError(
                    f"{suite.where}: data[{i}]: {data.label} has {number} {name} sample"
                    f"{'' if number == 1 else 's'}, and {what} {fewest} or more: add files, or raise {key} or "
                    f"data.per_file; or leave {'them out with features = []' if what == _DISTANCES else 'it out'}"
                )


def planned_counts(suite: Suite, console: Console) -> tuple[dict[str, str], dict[str, DataCounts]]:
    """Fingerprints and counts of all data sets of a suite that is only looked at. Raises UserError."""
    cache = default_cache()
    prints = fingerprints(suite, console, cache)
    counts = {}
    for data in suite.data:
        known = count(data, cache=cache, fingerprint=prints[data.label], console=console, whole=False)
        if known is not None:
            counts[data.label] = known
    check_counts(suite, counts)
    return prints, counts


def _read(folder: Path) -> DataCounts:
    """The counts that a decoded data set stores beside its samples."""
    from .datasets.complaints import by_reason

    try:
        meta = json.loads((folder / "meta.json").read_text())
        counts, skipped = dict(meta["counts"]), [item["reason"] for item in meta["skipped"]]
        train, val = int(counts.pop("train")), int(counts.pop("val"))
        others = _passed_over(meta["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"cache: the entry {folder} is damaged ({error}); remove that folder") from None
    return DataCounts(train=train, val=val, files=counts, reasons=by_reason(skipped), passed_over=others)


def _passed_over(notes: Iterable[str]) -> str:
    """The note that says so, of a data set's."""
    return next((note for note in notes if PASSED_OVER in note), "")


def _apart(console: Console, data: DataConfig, work: Callable[..., str | None]) -> str | None:
    """What `work(progress=...)` gives in a process of its own, its progress shown."""
    context = multiprocessing.get_context("fork")  # which has the user's own sources registered
    keep_what_forks_inherit()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work), daemon=True)
    process.start()
    sender.close()
    try:
        with console.status(Text(f"decoding {printable(data.label)}")) as status:
            while True:
                kind, value = receiver.recv()
                if kind != "progress":
                    break
                status.update(Text(f"decoding {printable(data.label)}: {value[0]}/{value[1]} files"))
    except EOFError:
        process.join()
        raise UserError(
            f"data: decoding {data.label} was ended by the system (exit code {process.exitcode}); is there enough "
            "memory?"
        ) from None
    finally:
        process.terminate()
        process.join()
        receiver.close()
    if kind == "mistake":
        raise UserError(value)
    if kind == "fault":
        raise RuntimeError(f"decoding {data.label} failed:\n{value}")
    result: str | None = value
    return result


def _decode(data: DataConfig, cache: Path, fingerprint: str, *, progress: Progress) -> str:
    return str(decode(data, cache=cache, fingerprint=fingerprint, progress=progress))


def _send(sender: Connection, work: Callable[..., str | None]) -> None:
    """What the other process does. It sends ("progress", (done, total)) and at the end what came of it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the cache's drafts are removed on the way out

    def progress(done: int, total: int, message: str) -> None:
        sender.send(("progress", (done, total)))

    try:
        sender.send(("result", work(progress=progress)))
    except UserError as error:
        sender.send(("mistake", str(error)))
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
    except BaseException:
        sender.send(("fault", traceback.format_exc()))
