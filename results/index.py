"""What tables, a status and a new run ask of a large folder's records, without reading every one each time.

OUT/.index.jsonl remembers how each job ended, and its record's outline: all of it that a table needs. It has three
lines: versions and the digests of the two others; how jobs ended, which is all that a status reads (`results.ended`);
the outlines.

The records alone count. What is remembered of one holds while its file has the times of change, size and inode that it
had then; whatever is new or differs is read, and a record that is gone is gone. Any reader writes the index anew, whole
and in one step, when it had many records to read: of several at once the last one's stays, and the others' reading was
in vain. A damaged index, or one of another version, is as good as none, and it may be removed at any time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json, to_json

from .ended import INDEX, VERSIONS, Ended, Stamp, State, look, parsed, remembered
from .errors import UserError
from .garbage import no_collections
from .gates import ABSENT, CANDIDATES, DOUBTS, LIMIT, REACHED, RUNG_REACHED
from .metric import Metric
from .metrics import Measured, numbers_of
from .record import Failure, InvalidRecord, NewerRecord, Record
from .record_file import UPDATE
from .store import RECORD, Store, atomic_file

# New records from which on remembering is worth its writing: so many, and this share of all.
_WORTH, _WORTH_SHARE = 200, 0.02
# A disk's times may be as coarse as this: a record that young could change once more without a trace.
_SETTLED_NS = 2_000_000_000

# What an outline has of a record's tables.
_CONFIG = ("prior",)
_EXTRA = (
    *("parameters", "flops", "sampler", "preset", "left_out", "counts", "reasons", "contract"),
    *("by", "direction", CANDIDATES, ABSENT, DOUBTS, RUNG_REACHED, LIMIT, REACHED),  # what a gate has decided
)
_RUN = ("seconds", "train_seconds", "samples_per_second", "peak_memory_bytes")

_READ = {"finished", "failed"}
_MEASURED = ("value", "se", "interval")
_HEAD = tuple(item.name for item in fields(Metric) if item.name not in _MEASURED)

_ARTIFACTS = 7  # where they stand in a packed outline

_head_of = attrgetter(*_HEAD)
_FORM = VERSIONS | {"fields": [list(names) for names in (_HEAD, _CONFIG, _EXTRA, _RUN)]}


def states(store: Store, jobs: Iterable[str]) -> dict[str, State]:
    """The states of those jobs ("kind/key") that have a record; whether their artifacts are there is not looked at."""
    with no_collections():
        known = remembered(store.root)
        ended, fresh = look(store.root, jobs, known)
        read_fresh(store, ended, fresh, known=len(known.jobs))
        return ended.states()


def read_fresh(store: Store, ended: Ended, fresh: Sequence[int], *, known: int) -> None:
    """Read the records at those places of `ended`, and remember them if they are many beside so many that are `known`.

    A caller that has none saves itself the import of this module."""
    index = _Index(store)
    index.ended = ended
    index.read_fresh(fresh, known=known)


class Outlined(Mapping[str, Record]):
    """Outlines of records by job, of which each is made whenever it is asked for: to keep 100,000 takes longer than to
    make them twice. `statuses` says of each whether it is finished or failed. `unread` are the jobs whose records can't
    be read, damaged ones and those of a newer version; `incomplete` those that lack an artifact, with the reason."""

    def __init__(
        self, statuses: dict[str, Any], outlines: _Outlines, unread: Mapping[str, State] = MappingProxyType({})
    ) -> None:
        self.statuses, self.unread, self._outlines = statuses, unread, outlines
        self.incomplete: dict[str, str] = {}

    def __getitem__(self, job: str) -> Record:
        return self._outlines.unpack(job, self.statuses[job])

    def __iter__(self) -> Iterator[str]:
        return iter(self.statuses)

    def __len__(self) -> int:
        return len(self.statuses)

    def __contains__(self, job: object) -> bool:
        return job in self.statuses

    @property
    def finished(self) -> list[str]:
        """The jobs that are finished."""
        return [job for job, status in self.statuses.items() if status == "finished"]

    @property
    def holding(self) -> list[str]:
        """Those of them whose records name artifacts."""
        packed = self._outlines.packed
        return [job for job in self.finished if packed[job][_ARTIFACTS]]


def outlines(store: Store, jobs: Iterable[str], *, verify: bool = False) -> Outlined:
    """The valid records of the jobs ("kind/key"), finished and failed, their artifacts unchecked, as outlines.

    An outline is equal to the record but for `config`, `extra` and `run`, which lack what no table needs. To `verify`,
    each file's digest is compared instead of its times: a disk may have lost a bit without a word.
    """
    with no_collections():
        index = _Index(store)
        index.look(jobs, verify=verify)
        return index.outlined()


def outcomes(store: Store, jobs: Iterable[str], *, verify: bool = False) -> Outlined:
    """The `outlines` of those jobs that have ended as `Store.outcome` says: failed, or with all artifacts in full size;
    others are left out."""
    known = outlines(store, jobs, verify=verify)
    for job in known.holding:
        if not store.is_complete(record := known[job]):
            known.incomplete[job] = store.damage(record) or "an artifact was not there, and is now"
            del known.statuses[job]
    return known


def refuse_newer(store: Store, unread: Mapping[str, State]) -> None:
    """Raises UserError where one of the jobs whose records can't be read has one of a newer version: whoever does it
    again would lose that."""
    newer = {job: state.cause for job, state in unread.items() if state.status == "newer"}
    for job, cause in newer.items():
        records = "a record" if len(newer) == 1 else f"{len(newer)} records"
        path = store.job_folder(*job.split("/", 1)) / RECORD
        raise UserError(f"{path}: {cause}: {records} of a newer latentbench; {UPDATE}")


class _Outlines:
    """Records' outlines, packed: `packed` {job: [the file's digest, ...]}. What metrics are, apart from their numbers,
    stands once: as `heads`, and in `layouts` the places of those that a record has."""

    def __init__(
        self,
        heads: Iterable[Mapping[str, Any]] = (),
        layouts: Iterable[Sequence[int]] = (),
        packed: dict[str, list[Any]] | None = None,
    ) -> None:
        self.packed = packed if packed is not None else {}
        self._heads = [Metric.of_checked(head, value=None) for head in heads]
        self._layouts = [[self._heads[place] for place in layout] for layout in layouts]

    def to_line(self) -> bytes:
        """A line of the index."""
        heads = [dict(zip(_HEAD, _head_of(head), strict=True)) for head in self._heads]
        layouts = [[self._places[_head_of(head)] for head in layout] for layout in self._layouts]
        return to_json([heads, layouts, self.packed]) + b"\n"

    def pack(self, record: Record, digest: str) -> list[Any]:
        """Plain data of the record's outline."""
        tables = ((record.config, _CONFIG), (record.extra, _EXTRA), (record.run, _RUN))
        error = record.error
        return [
            digest,
            self._layout(record.metrics),
            numbers_of(record.metrics),
            *({name: table[name] for name in names if name in table} for table, names in tables),
            list(record.depends),
            dict(record.artifacts),
            dict(record.digests),
            None if error is None else vars(error),
        ]

    def unpack(self, job: str, status: Any) -> Record:
        """The outline of the job's record."""
        kind, _, key = job.partition("/")
        _, layout, numbers, config, extra, run, depends, artifacts, digests, error = self.packed[job]
        record = object.__new__(Record)  # as `Metric.of_checked`: in the usual way each field takes a call
        facts = {
            "kind": kind,
            "key": key,
            "status": status,
            "config": config,
            "depends": tuple(depends),
            "metrics": Measured(self._layouts[layout], numbers) if numbers else (),
            "extra": extra,
            "artifacts": artifacts,
            "digests": digests,
            "error": None if error is None else Failure(**error),
            "run": run,
        }
        object.__setattr__(record, "__dict__", facts)
        return record

    def adopt(self, others: _Outlines, jobs: Iterable[str]) -> None:
        """Take over the outlines of those of the jobs that `others` have."""
        layouts = [self._layout(layout) for layout in others._layouts]
        for job in jobs:
            if job in others.packed:
                digest, layout, *rest = others.packed[job]
                self.packed[job] = [digest, layouts[layout], *rest]

    def _layout(self, metrics: Iterable[Metric]) -> int:
        """Where it stands what these metrics are."""
        places = tuple(map(self._place, metrics))
        layout = self._layout_places.setdefault(places, len(self._layouts))
        if layout == len(self._layouts):
            self._layouts.append([self._heads[place] for place in places])
        return layout

    def _place(self, metric: Metric) -> int:
        head = _head_of(metric)
        place = self._places.setdefault(head, len(self._heads))
        if place == len(self._heads):
            self._heads.append(Metric.of_checked(dict(zip(_HEAD, head, strict=True)), value=None))
        return place

    @cached_property
    def _places(self) -> dict[tuple[Any, ...], int]:
        return {_head_of(head): place for place, head in enumerate(self._heads)}

    @cached_property
    def _layout_places(self) -> dict[tuple[int, ...], int]:
        of_head = self._places
        return {tuple(of_head[_head_of(head)] for head in heads): place for place, heads in enumerate(self._layouts)}


class _Index:
    """What is remembered of a folder's records, and after `look` how those that are there have `ended`."""

    def __init__(self, store: Store) -> None:
        self.ended = Ended()
        self._store = store
        self._path = store.root / INDEX
        self._outlines = _Outlines()

    def look(self, jobs: Iterable[str], *, verify: bool = False) -> None:
        """See what has become of the jobs, so that their outlines can be asked for."""
        known, self._outlines = self._read()
        asked = dict.fromkeys(jobs)
        same = self._same(asked, known) if verify else None
        self.ended, fresh = look(self._store.root, asked, known, same=same)
        self.read_fresh(fresh, known=len(known.jobs))

    def read_fresh(self, fresh: Sequence[int], *, known: int) -> None:
        """Read the records at those places of `ended`, and remember them where they are many."""
        for place in fresh:
            self.ended.set(place, self._inspect(self.ended.jobs[place]))
        if len(fresh) > max(_WORTH, _WORTH_SHARE * known):
            self._write(fresh)

    def outlined(self) -> Outlined:
        """The outlines of the valid ones of the records that `look` has seen."""
        statuses = dict(zip(self.ended.jobs, self.ended.statuses, strict=True))
        unread = {}
        if not {*self.ended.statuses} <= _READ:
            for place, (job, status) in enumerate(list(statuses.items())):
                if status not in _READ:
                    unread[job] = self.ended.row(place)[2]
                    del statuses[job]
        return Outlined(statuses, self._outlines, unread)

    def _same(self, jobs: Container[str], known: Ended) -> dict[str, Stamp]:
        """Those of the jobs whose record's bytes are still those that were read when it was remembered, by digest."""
        packed, read = self._outlines.packed, self._store.read_bytes
        same = {}
        for job, stamp in zip(known.jobs, known.stamps, strict=True):
            if job in jobs and job in packed:
                try:
                    digest = hashlib.sha256(read(*job.split("/", 1), size=stamp[2])).hexdigest()
                except InvalidRecord:
                    continue
                if digest == packed[job][0]:
                    same[job] = stamp
        return same

    def _inspect(self, job: str) -> State:
        kind, _, key = job.partition("/")
        self._outlines.packed.pop(job, None)
        try:
            content = self._store.read_bytes(kind, key)
            record = Record.from_bytes(content, kind=kind, key=key)
        except InvalidRecord as error:
            return State("newer" if isinstance(error, NewerRecord) else "damaged", 0.0, str(error))
        self._outlines.packed[job] = self._outlines.pack(record, hashlib.sha256(content).hexdigest())
        seconds = record.run.get("seconds")
        seconds = float(seconds) if isinstance(seconds, int | float) else 0.0
        return State(record.status, seconds, str(record.error or ""))

    def _read(self) -> tuple[Ended, _Outlines]:
        """How jobs ended, and the outlines; nothing where there is no index of this version in good order."""
        try:
            facts, ended, outlines = self._path.read_bytes().splitlines(keepends=True)
            head = from_json(facts)
            if {name: head.get(name) for name in _FORM} != _FORM:
                return Ended(), _Outlines()
            return Ended.from_line(ended, head["sha256"][0]), _Outlines(*parsed(outlines, head["sha256"][1]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return Ended(), _Outlines()

    def _write(self, fresh: Sequence[int]) -> None:
        """Remember the `fresh` ones too, unless they are so young that they might change without a trace, and none that
        are gone. A folder that is not ours to write to has no index."""
        known, outlines = self._read()  # again: another may have written meanwhile
        with suppress(UserError), atomic_file(self._path) as temporary:
            now = temporary.stat().st_ctime_ns  # by the disk's clock
            settled = {self.ended.jobs[place]: self.ended.row(place) for place in fresh if self._is_settled(place, now)}
            for job in settled:
                outlines.packed.pop(job, None)
            outlines.adopt(self._outlines, settled)
            ended = self._joined(known, settled)
            for job in known.places().keys() - ended.places().keys():
                outlines.packed.pop(job, None)
            lines = [ended.to_line(), outlines.to_line()]
            facts = to_json(_FORM | {"sha256": [hashlib.sha256(line).hexdigest() for line in lines]})
            temporary.write_bytes(b"".join([facts + b"\n", *lines]))

    def _is_settled(self, place: int, now: int) -> bool:
        """Whether the job's record can be remembered: it is not young, and its text is of an encoding that JSON has."""
        job, stamp, state = self.ended.row(place)
        return abs(now - stamp[1]) > _SETTLED_NS and _is_text([job, state, self._outlines.packed.get(job)])

    def _joined(self, known: Ended, settled: Mapping[str, tuple[str, Stamp, State]]) -> Ended:
        """What is known, with what is settled: in the order in which jobs were looked for, which is the next reader's
        too; then others that are still there."""
        joined, places, seen = Ended(), known.places(), self.ended.places()
        for job in self.ended.jobs:
            if job in settled or job in places:
                joined.add(*(settled[job] if job in settled else known.row(places[job])))
        for job in known.jobs:
            if job not in seen and os.path.exists(f"{self._store.root}/jobs/{job}/{RECORD}"):
                joined.add(*known.row(places[job]))
        return joined


def _is_text(data: Any) -> bool:
    """Whether it can be written: a file's name of another encoding can't."""
    try:
        to_json(data)
    except ValueError:
        return False
    return True
