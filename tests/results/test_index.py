"""The index of a folder's records: it says what the records say, whatever has become of them or of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.results import index
from latentbench.results.ended import INDEX, SCHEMA, VERSIONS, remembered
from latentbench.results.index import outcomes, outlines, states
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.store import RECORD, Store, atomic_write

RUN = {"seconds": 2.0, "peak_memory_bytes": 7, "host": "here"}
KEYS = [f"{number:04}" for number in range(12)]
JOBS = [f"prior/{key}" for key in KEYS]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember every record at once."""
    monkeypatch.setattr(index, "_WORTH", 0)
    monkeypatch.setattr(index, "_WORTH_SHARE", 0.0)
    monkeypatch.setattr(index, "_SETTLED_NS", -1)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the records that are read as JSON."""
    keys: list[str] = []
    read = Record.from_bytes.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Record], content: bytes, **job: Any) -> Record:
        if job:  # not when it is written
            keys.append(job["key"])
        return read(cls, content, **job)

    monkeypatch.setattr(Record, "from_bytes", classmethod(counted))
    return keys


def record(key: str, **fields: Any) -> Record:
    measured = (
        Metric(name="psnr", value=20.5, se=0.1, interval=(20.25, 21.0), n=64, direction="higher", role="distortion"),
        Metric(name="bits", value=3, n=64, missing=2, direction="lower", protocol="é", shown="asked", blind_to="x"),
        Metric(name="none", value=None, compared="shape"),
    )
    facts = {"flops": 2**80, "parameters": -0.0, "left_out": {"psnr": [1e-320, 1e299]}, "curve": [1, 2], "preset": {}}
    whole = Record(
        kind="prior",
        key=key,
        status="finished",
        config={"prior": "ar", "steps": 5},
        depends=("data/1",),
        metrics=measured,
        extra=facts,
        artifacts={"w.npy": 3},
        digests={"w.npy": "0" * 64},
        run=RUN,
    )
    return replace(whole, **fields)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Twelve records with an artifact each, remembered."""
    store = Store(tmp_path / "out")
    for key in KEYS:
        atomic_write(store.job_folder("prior", key) / "w.npy", b"123")
        Path(store.job_folder("prior", key) / RECORD).write_bytes(record(key).to_bytes())
    assert len(outlines(store, JOBS)) == len(JOBS)
    assert (store.root / INDEX).is_file()
    return store


def test_an_outline_is_the_record_without_what_no_table_needs(store: Store, parsed: list[str]) -> None:
    remembered = outlines(store, JOBS)
    assert parsed == []
    for job in JOBS:
        whole = store.read(*job.split("/"))
        assert replace(remembered[job], config=whole.config, extra=whole.extra, run=whole.run) == whole
        assert repr(remembered[job].metrics) == repr(whole.metrics)  # 3 and 3.0 differ
        assert remembered[job].config == {"prior": "ar"}
        shown = {name: value for name, value in whole.extra.items() if name != "curve"}
        assert repr(sorted(remembered[job].extra.items())) == repr(sorted(shown.items()))
        assert remembered[job].run == {"seconds": 2.0, "peak_memory_bytes": 7}


def test_what_has_ended_is_told_of_records_with_their_artifacts(store: Store, parsed: list[str]) -> None:
    failed(store, KEYS[2])
    artifact_gone(store, KEYS[3])
    (store.job_folder("prior", KEYS[4]) / RECORD).unlink()
    parsed.clear()
    for verify in (False, True):
        ended = outcomes(store, JOBS, verify=verify)
        assert list(ended) == [job for job in JOBS if job not in (JOBS[3], JOBS[4])]
        assert ended[JOBS[2]].status == "failed"
        assert store.damage(ended[JOBS[0]]) == store.damage(record(KEYS[0]))
    assert set(parsed) <= {KEYS[2]}


def failed(store: Store, key: str) -> None:
    store.save(record(key, status="failed", error=Failure(type="E", message="m", where="w"), metrics=(), artifacts={}))


def in_place(store: Store, key: str) -> None:
    path = store.job_folder("prior", key) / RECORD
    before = path.stat()
    path.write_bytes(record(key, run={**RUN, "seconds": 9.0}).to_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def replaced(store: Store, key: str) -> None:
    path = store.job_folder("prior", key) / RECORD
    before = path.stat()
    store.save(record(key, run={**RUN, "seconds": 9.0}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def cut(store: Store, key: str) -> None:
    path = store.job_folder("prior", key) / RECORD
    path.write_bytes(path.read_bytes()[:-30])


def flipped(store: Store, key: str) -> None:
    path = store.job_folder("prior", key) / RECORD
    content = bytearray(path.read_bytes())
    content[content.index(b"20.5")] ^= 1
    path.write_bytes(bytes(content))


def removed(store: Store, key: str) -> None:
    shutil.rmtree(store.job_folder("prior", key))


def artifact_gone(store: Store, key: str) -> None:
    (store.job_folder("prior", key) / "w.npy").unlink()


@pytest.mark.parametrize(
    ("change", "state", "seconds", "outcome"),
    [
        (failed, "failed", 2.0, "failed"),
        (in_place, "finished", 9.0, "finished"),
        (replaced, "finished", 9.0, "finished"),
        (cut, "damaged", 0.0, None),
        (flipped, "damaged", 0.0, None),
        (removed, None, None, None),
        (artifact_gone, "finished", 2.0, None),
    ],
)
def test_the_records_alone_count(
    store: Store, change: Callable[[Store, str], None], state: str, seconds: float, outcome: str | None
) -> None:
    change(store, KEYS[3])
    for _ in range(2):  # as seen, and as remembered then
        ended = states(store, JOBS)
        assert len(ended) == len(JOBS) - (state is None)
        assert (ended[JOBS[3]][:2] if state else None) == ((state, seconds) if state else None)
        known = outcomes(store, JOBS)
        assert known.keys() - {JOBS[3]} == {*JOBS} - {JOBS[3]}
        assert (known[JOBS[3]].status if JOBS[3] in known else None) == outcome
        whole = store.outcome("prior", KEYS[3])
        assert (whole.status if whole else None) == outcome
        assert known.get(JOBS[3], record(KEYS[3])).run["seconds"] == (seconds if outcome else 2.0)


def test_only_what_is_new_is_read(store: Store, parsed: list[str]) -> None:
    atomic_write(store.job_folder("prior", "new") / "w.npy", b"123")
    store.save(record("new"))
    parsed.clear()
    assert len(outcomes(store, [*JOBS, "prior/new"])) == len(JOBS) + 1
    assert parsed == ["new"]
    assert len(states(store, [*JOBS, "prior/new"])) == len(JOBS) + 1
    assert parsed == ["new"]


def test_a_status_remembers_for_tables(tmp_path: Path, store: Store, parsed: list[str]) -> None:
    new = [f"prior/new{number}" for number in range(3)]
    for number, job in enumerate(new):
        metric = Metric(name=f"other{number}", value=1.0)
        store.save(record(job[6:], metrics=(metric, *record("x").metrics), artifacts={}))
    states(store, new)
    parsed.clear()
    assert [outlines(store, [job])[job].metrics for job in new] == [store.read("prior", job[6:]).metrics for job in new]
    assert outlines(store, JOBS).keys() == {*JOBS}
    assert parsed == [job[6:] for job in new]  # by `store.read` above


def test_what_is_young_or_gone_is_not_remembered(
    store: Store, monkeypatch: pytest.MonkeyPatch, parsed: list[str]
) -> None:
    removed(store, KEYS[0])
    monkeypatch.setattr(index, "_SETTLED_NS", 60_000_000_000)
    store.save(record("new", artifacts={}))
    parsed.clear()
    for times in (1, 2):
        assert states(store, ["prior/new"])["prior/new"].status == "finished"
        assert parsed == ["new"] * times
    ended = json.loads((store.root / INDEX).read_bytes().splitlines()[1])
    assert {*ended[0]} == {*JOBS[1:]}


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_damaged_index_is_none(store: Store, parsed: list[str], line: int) -> None:
    path, before = store.root / INDEX, outcomes(store, JOBS)
    lines = path.read_bytes().splitlines(keepends=True)
    middle = len(lines[line]) // 2
    spoiled = lines[line][:middle] + bytes([lines[line][middle] ^ 1]) + lines[line][middle + 1 :]
    for content in (spoiled, lines[line][:-5], b"", b"[]\n", b"null\n", b"\xff\n"):
        path.write_bytes(b"".join([*lines[:line], content, *lines[line + 1 :]]))
        parsed.clear()
        assert outcomes(store, JOBS) == before
        assert len(parsed) == len(JOBS)
        assert path.read_bytes().splitlines()[1:] == [part.rstrip(b"\n") for part in lines[1:]]


@pytest.mark.parametrize("read", [outcomes, states])
def test_an_index_of_another_version_is_none(
    store: Store, parsed: list[str], monkeypatch: pytest.MonkeyPatch, read: Callable[[Store, list[str]], Any]
) -> None:
    before = read(store, JOBS)
    for form in (index._FORM, VERSIONS):
        monkeypatch.setitem(form, "schema", [SCHEMA, 99])
    assert read(store, JOBS) == before
    assert len(parsed) == len(JOBS)


def test_an_index_of_the_last_version_is_written_anew(store: Store, parsed: list[str]) -> None:
    path, before = store.root / INDEX, outcomes(store, JOBS)
    content = path.read_bytes()
    facts, ended, outlines_line = content.splitlines()
    heads, _, packed = json.loads(outlines_line)
    for outline in packed.values():  # until version 2 each metric's place stood before its numbers
        numbers = outline.pop(2)
        outline[1] = [item for i in range(0, len(numbers), 4) for item in (i // 4, *numbers[i : i + 4])]
    old = json.dumps([heads, packed]).encode()
    digests = [hashlib.sha256(line + b"\n").hexdigest() for line in (ended, old)]
    head = json.dumps({**json.loads(facts), "schema": [2, VERSIONS["schema"][1]], "sha256": digests}).encode()
    path.write_bytes(b"\n".join([head, ended, old]) + b"\n")
    parsed.clear()
    assert outcomes(store, JOBS) == before
    assert len(parsed) == len(JOBS)
    assert path.read_bytes() == content


def test_a_bit_that_the_disk_lost_is_noticed_by_who_verifies(store: Store) -> None:
    real = os.stat
    stamp = real(store.job_folder("prior", KEYS[3]) / RECORD)
    flipped(store, KEYS[3])

    def unchanged(path: Any, **options: Any) -> os.stat_result:
        return stamp if str(path).endswith(f"{KEYS[3]}/{RECORD}") else real(path, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "stat", unchanged)
        assert JOBS[3] in outcomes(store, JOBS)
        assert outcomes(store, JOBS, verify=True).keys() == {*JOBS} - {JOBS[3]}


def test_who_verifies_need_not_read_again_what_was_only_touched(store: Store, parsed: list[str]) -> None:
    os.utime(store.job_folder("prior", KEYS[3]) / RECORD, ns=(1, 1))
    before = outcomes(store, JOBS, verify=True)
    assert (list(before), parsed) == (JOBS, [])
    assert outcomes(store, JOBS) == before
    assert parsed == [KEYS[3]]


def test_text_of_another_encoding_is_read_each_time(store: Store, parsed: list[str]) -> None:
    odd = record("odd", extra={"reasons": {"\udcff": 1}}, artifacts={})
    store.save(odd)
    parsed.clear()
    for _ in range(2):
        assert outcomes(store, [*JOBS, "prior/odd"])["prior/odd"].extra == odd.extra
    assert parsed == ["odd", "odd"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_ours_has_no_index(store: Store) -> None:
    (store.root / INDEX).unlink()
    store.root.chmod(0o500)
    assert len(outcomes(store, JOBS)) == len(JOBS)
    assert not (store.root / INDEX).exists()


def test_jobs_are_remembered_in_the_order_in_which_they_are_looked_for(store: Store, parsed: list[str]) -> None:
    new = [f"prior/new{number}" for number in range(3)]
    for job in new:
        store.save(record(job[6:], artifacts={}))
    order = [new[0], *JOBS[4:], new[2], *JOBS[:4]]
    assert list(states(store, order)) == order
    assert remembered(store.root).jobs == order
    states(store, new)
    assert remembered(store.root).jobs == [*new, *(job for job in order if job not in new)]
    parsed.clear()
    for jobs in (order, [*JOBS[5:], *new], [JOBS[2]], []):  # all that is remembered, or some of it
        ended = states(store, jobs)
        assert list(ended) == jobs
        assert {state[:2] for state in ended.values()} <= {("finished", 2.0)}
    assert parsed == []


def test_folders_without_records(tmp_path: Path) -> None:
    assert states(Store(tmp_path / "none"), JOBS) == {}
    assert outcomes(Store(tmp_path), ["prior/a\0b", "prior/zz"]) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["md", "csv", "json", "latex", "html"])
def test_tables_are_the_same_with_an_index(folder: Path, parsed: list[str], format: str) -> None:
    first = leaderboard([folder], format=format)
    assert (folder / INDEX).is_file()
    parsed.clear()
    assert leaderboard([folder], format=format) == first
    assert parsed == []
