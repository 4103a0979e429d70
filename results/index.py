"""What tables, a status and a new run ask of a large folder's records, without reading every one each time.

OUT/.index.jsonl remembers how each job ended, and its record's outline: all of it that a table needs. It has three
lines: versions and the digests of the two others; how jobs ended, which is all that a status reads; the outlines.

The records alone count. What is remembered of one holds while its file has the times of change, size and inode that it
had then; whatever is new or differs is read, and a record that is gone is gone. Any reader writes the index anew, whole
and in one step, when it had many records to read: of several at once the last one's stays, and the others' reading was
in vain. A damaged index, or one of another version, is as good as none, and it may be removed at any time.
"""

from __future__ import annotations

import gc
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from .errors import UserError
from .gates import ABSENT, CANDIDATES, DOUBTS, RUNG_REACHED
from .metric import Metric
from .record import SCHEMA as RECORD_SCHEMA
from .record import Failure, InvalidRecord, Record
from .store import RECORD, Store, atomic_file

INDEX = ".index.jsonl"
SCHEMA = 1

# New records from which on remembering is worth its writing: so many, and this share of all.
_WORTH, _WORTH_SHARE = 200, 0.02
# A disk's times may be as coarse as this: a record that young could change once more without a trace.
_SETTLED_NS = 2_000_000_000

# What an outline has of a record's tables.
_CONFIG = ("prior",)
_EXTRA = (
    *("parameters", "flops", "sampler", "preset", "left_out", "counts", "reasons", "contract"),
    *("by", "direction", CANDIDATES, ABSENT, DOUBTS, RUNG_REACHED),  # what a gate has decided
)
_RUN = ("seconds", "train_seconds", "samples_per_second", "peak_memory_bytes")

_STAMP = 4  # numbers that tell whether a file is the one that was read: the first of what is remembered of a job
_MEASURED = ("value", "se", "interval")
_HEAD = tuple(item.name for item in fields(Metric) if item.name not in _MEASURED)

_head_of = attrgetter(*_HEAD)
_FORM = {"schema": [SCHEMA, RECORD_SCHEMA], "fields": [list(names) for names in (_HEAD, _CONFIG, _EXTRA, _RUN)]}


class State(NamedTuple):
    """How a job ended: "finished", "failed" with its cause, or "damaged"; the `seconds` it took."""

    status: str
    seconds: float
    cause: str


def states(store: Store, jobs: Iterable[str]) -> dict[str, State]:
    """The states of those jobs ("kind/key") that have a record; whether their artifacts are there is not looked at."""
    with no_collections():
        index = _Index(store)
        index.look(jobs)
        return {job: State(*ended[_STAMP:]) for job, ended in index.ended.items()}


def outlines(store: Store, jobs: Iterable[str], *, verify: bool = False) -> dict[str, Record]:
    """The valid records of the jobs ("kind/key"), finished and failed, their artifacts unchecked, as outlines.

    An outline is equal to the record but for `config`, `extra` and `run`, which lack what no table needs. To `verify`,
    each file's digest is compared too: a disk may have lost a bit without a word.
    """
    with no_collections():
        index = _Index(store)
        index.look(jobs, outlined=True, verify=verify)
        return {job: index.outline(job) for job, ended in index.ended.items() if ended[_STAMP] != "damaged"}


def outcomes(store: Store, jobs: Iterable[str], *, verify: bool = False) -> dict[str, Record]:
    """The `outlines` of those jobs that have ended as `Store.outcome` says: failed, or with all artifacts in full size;
    others are left out."""
    known = outlines(store, jobs, verify=verify)
    return {job: record for job, record in known.items() if record.status == "failed" or store.is_complete(record)}


class _Outlines:
    """Records' outlines, packed: `packed` {job: [the file's digest, ...]}, and in `heads` what their metrics share."""

    def __init__(self, heads: list[dict[str, Any]], packed: dict[str, list[Any]]) -> None:
        self.heads, self.packed = heads, packed
        self._places: dict[tuple[Any, ...], int] | None = None

    def pack(self, record: Record, digest: str) -> list[Any]:
        """Plain data of the record's outline."""
        metrics: list[Any] = []
        for metric in record.metrics:
            metrics += (self._place(_head_of(metric)), metric.value, metric.se, *(metric.interval or (None, None)))
        tables = ((record.config, _CONFIG), (record.extra, _EXTRA), (record.run, _RUN))
        error = record.error
        return [
            digest,
            metrics,
            *({name: table[name] for name in names if name in table} for table, names in tables),
            list(record.depends),
            dict(record.artifacts),
            dict(record.digests),
            None if error is None else vars(error),
        ]

    def unpack(self, job: str, status: Any) -> Record:
        """The outline of the job's record."""
        kind, _, key = job.partition("/")
        _, metrics, config, extra, run, depends, artifacts, digests, error = self.packed[job]
        metrics = tuple(map(self._metric, *(metrics[i::5] for i in range(5)))) if metrics else ()
        return Record(
            kind=kind,
            key=key,
            status=status,
            config=config,
            depends=tuple(depends),
            metrics=metrics,
            extra=extra,
            artifacts=artifacts,
            digests=digests,
            error=None if error is None else Failure(**error),
            run=run,
        )

    def adopt(self, others: _Outlines, jobs: Iterable[str]) -> None:
        """Take over the outlines of those of the jobs that `others` have."""
        places = [self._place(tuple(head.values())) for head in others.heads]
        for job in jobs:
            if job in others.packed:
                digest, metrics, *rest = others.packed[job]
                metrics = [places[item] if i % 5 == 0 else item for i, item in enumerate(metrics)]
                self.packed[job] = [digest, metrics, *rest]

    def _metric(self, place: int, value: Any, se: Any, low: Any, high: Any) -> Metric:
        interval = None if low is None else (low, high)
        return Metric.of_checked(self.heads[place], value=value, se=se, interval=interval)

    def _place(self, head: tuple[Any, ...]) -> int:
        if self._places is None:
            self._places = {tuple(known.values()): place for place, known in enumerate(self.heads)}
        place = self._places.setdefault(head, len(self.heads))
        if place == len(self.heads):
            self.heads.append(dict(zip(_HEAD, head, strict=True)))
        return place


class _Index:
    """What is remembered of a folder, and after `look` what is: `ended` {job: [times, size and inode of the record's
    file, then its `State`]}."""

    def __init__(self, store: Store) -> None:
        self.ended: dict[str, list[Any]] = {}
        self._store = store
        self._path = store.root / INDEX
        self._jobs = f"{os.fspath(store.root)}/jobs/"
        self._outlines = _Outlines([], {})

    def look(self, jobs: Iterable[str], *, outlined: bool = False, verify: bool = False) -> None:
        """See what has become of the jobs; `outlined` where `outline` will be asked for too."""
        remembered, self._outlines = self._read(outlined=outlined)
        stat = os.stat
        fresh = []
        for job in jobs:
            try:
                file = stat(f"{self._jobs}{job}/{RECORD}")
            except (OSError, ValueError):  # ValueError: a key that no folder can be called by
                continue
            stamp = [file.st_mtime_ns, file.st_ctime_ns, file.st_size, file.st_ino]
            ended = remembered.get(job)
            if ended is None or ended[:_STAMP] != stamp or (verify and not self._is_same(job)):
                ended = [*stamp, *self._inspect(job)]
                fresh.append(job)
            self.ended[job] = ended
        if len(fresh) > max(_WORTH, _WORTH_SHARE * len(remembered)):
            self._write(fresh)

    def outline(self, job: str) -> Record:
        """The record's outline. Raises KeyError for one that is damaged or that `look` has not seen."""
        return self._outlines.unpack(job, self.ended[job][_STAMP])

    def _is_same(self, job: str) -> bool:
        """Whether the record's bytes are still those that were read when it was remembered."""
        try:
            digest = self._outlines.packed[job][0]
            return bool(digest == hashlib.sha256(self._store.read_bytes(*job.split("/", 1))).hexdigest())
        except (InvalidRecord, KeyError):
            return False

    def _inspect(self, job: str) -> tuple[str, float, str]:
        kind, _, key = job.partition("/")
        self._outlines.packed.pop(job, None)
        try:
            content = self._store.read_bytes(kind, key)
            record = Record.from_bytes(content, kind=kind, key=key)
        except InvalidRecord as error:
            return "damaged", 0.0, str(error)
        self._outlines.packed[job] = self._outlines.pack(record, hashlib.sha256(content).hexdigest())
        seconds = record.run.get("seconds")
        return record.status, float(seconds) if isinstance(seconds, int | float) else 0.0, str(record.error or "")

    def _read(self, *, outlined: bool) -> tuple[dict[str, list[Any]], _Outlines]:
        """The states, and the outlines if asked for; nothing where there is no index of this version in good order."""
        try:
            with self._path.open("rb") as file:
                facts = from_json(file.readline())
                if {name: facts.get(name) for name in _FORM} != _FORM:
                    return {}, _Outlines([], {})
                ended = _parsed(file.readline(), facts["sha256"][0])
                outlines = _parsed(file.readline(), facts["sha256"][1]) if outlined else [[], {}]
            return ended, _Outlines(*outlines)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}, _Outlines([], {})

    def _write(self, fresh: list[str]) -> None:
        """Remember the `fresh` ones too, unless they are so young that they might change without a trace, and none that
        are gone. A folder that is not ours to write to has no index."""
        ended, outlines = self._read(outlined=True)  # again: another may have written meanwhile
        unseen = [job for job in ended if job not in self.ended]
        for job in (job for job in unseen if not os.path.exists(f"{self._jobs}{job}/{RECORD}")):
            del ended[job]
            outlines.packed.pop(job, None)
        with suppress(UserError), atomic_file(self._path) as temporary:
            now = temporary.stat().st_ctime_ns  # by the disk's clock
            settled = [job for job in fresh if abs(now - self.ended[job][1]) > _SETTLED_NS]
            settled = [job for job in settled if _is_text([self.ended[job], self._outlines.packed.get(job)])]
            for job in settled:
                ended[job] = self.ended[job]
                outlines.packed.pop(job, None)
            outlines.adopt(self._outlines, settled)
            lines = [to_json(ended) + b"\n", to_json([outlines.heads, outlines.packed]) + b"\n"]
            facts = to_json(_FORM | {"sha256": [hashlib.sha256(line).hexdigest() for line in lines]})
            temporary.write_bytes(b"".join([facts + b"\n", *lines]))


def _is_text(data: Any) -> bool:
    """Whether it can be written: a file's name of another encoding can't."""
    try:
        to_json(data)
    except ValueError:
        return False
    return True


def _parsed(line: bytes, digest: str) -> Any:
    if hashlib.sha256(line).hexdigest() != digest:
        raise ValueError("damaged")
    return from_json(line)


@contextmanager
def no_collections() -> Iterator[None]:
    """Without the search for cycles among a million new objects that have none: it takes as long as making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
