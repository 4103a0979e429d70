"""Records that can't be read: damaged ones are named by whoever does them again or leaves them out; those of a newer
latentbench are told as such by every command, and never lost to one that can't read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli, plan_overview
from latentbench.bench.merge import merge
from latentbench.bench.plan_file import read_plans
from latentbench.results.digest import file_digest
from latentbench.results.errors import UserError
from latentbench.results.index import outcomes, states
from latentbench.results.record import InvalidRecord, NewerRecord, Record
from latentbench.results.record_file import SCHEMA
from latentbench.results.rows import rows
from latentbench.results.store import SUITE_SCHEMA, Store

SUITE = """
name = "newer"
data = { size = 16, samples = 8, val = 8 }
tokenizers = [{ recipe = "pca", channels = 4 }]
features = []
tasks = ["reconstruction"]
"""
NAMED = f"schema {SCHEMA + 1} is newer than this version reads (up to {SCHEMA})"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path / "suite.toml"


@pytest.fixture
def out(tmp_path: Path, suite: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan all of whose jobs a newer version has done, with an artifact each."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "out"
    assert cli.main(["run", str(suite), "--engine", "leases", "--plan-only", "--out", str(folder)]) == 0
    for job in read_plans(Store(folder))[0].jobs.values():
        write_newer(Store(folder), job.kind, job.key)
    return folder


def write_newer(store: Store, kind: str, key: str, *, sealed: bool = True) -> None:
    """As a version with one more schema would write it: with its digest, or with something else in its place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentbench.results.record.SCHEMA", SCHEMA + 1)
        patch.setattr("latentbench.results.record.UPDATES", {SCHEMA + 1: dict})
        store.save(Record(kind=kind, key=key, status="finished"))
    path = store.job_folder(kind, key) / "record.json"
    if not sealed:
        path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"blake3"'))


def contents(folder: Path) -> dict[str, bytes]:
    """All that counts: no lock, index or log."""
    files = (path for part in ("jobs", "suites", "plans") for path in folder.glob(f"{part}/**/*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_newer_record_is_no_damaged_one(tmp_path: Path, sealed: bool) -> None:
    store = Store(tmp_path)
    write_newer(store, "prior", "k", sealed=sealed)
    with pytest.raises(NewerRecord, match="schema 3 is newer than this version reads"):
        store.read("prior", "k")
    assert store.is_newer("prior", "k")
    assert states(store, ["prior/k"])["prior/k"] == ("newer", 0.0, NAMED)
    assert outcomes(store, ["prior/k"]).unread.keys() == {"prior/k"}
    with pytest.raises(UserError, match="there is one of a newer latentbench, which is kept"):
        store.save(Record(kind="prior", key="k", status="finished"))


def test_a_flipped_bit_makes_no_record_newer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(Record(kind="prior", key="k", status="finished"))
    path = tmp_path / "jobs" / "prior" / "k" / "record.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 2', b'"schema": 3'))
    with pytest.raises(InvalidRecord, match="its digest") as error:
        store.read("prior", "k")
    assert not isinstance(error.value, NewerRecord)
    assert not store.is_newer("prior", "k")


REFUSED = [
    ["run", "SUITE", "--out", "OUT"],
    ["run", "SUITE", "--out", "OUT", "--engine", "leases"],
    ["run", "SUITE", "--out", "OUT", "--engine", "leases", "--plan-only"],
    ["work", "OUT"],
    ["gc", "OUT", "--yes"],
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_whoever_would_do_its_job_again_refuses(
    out: Path, suite: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(out)
    capsys.readouterr()
    assert cli.main([{"SUITE": str(suite), "OUT": str(out)}.get(word, word) for word in words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "newer latentbench" in told[0]
    assert "update latentbench" in told[0]
    assert contents(out) == before


def test_whoever_looks_names_it(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(out)
    jobs = len(read_plans(Store(out))[0].jobs)
    assert cli.main(["status", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"{jobs} of a newer latentbench" in told
    assert NAMED in told
    assert "damaged" not in told
    assert cli.main(["status", str(out), "--json"]) == 0
    told_json = json.loads(capsys.readouterr().out)
    assert (told_json["newer"], told_json["damaged"], told_json["finished"]) == (jobs, 0, 0)
    assert {facts["status"] for facts in told_json["unread"].values()} == {"newer"}
    assert cli.main(["leaderboard", str(out)]) == 0
    assert NAMED in capsys.readouterr().out
    assert str(rows([out])[0]["status"]).startswith("newer: ")
    assert cli.main(["export", str(out), "--csv", str(tmp_path / "x.csv")]) == 0
    assert NAMED in (tmp_path / "x.csv").read_text()
    capsys.readouterr()
    (first, *_) = read_plans(Store(out))[0].jobs
    assert cli.main(["cancel", str(out), first]) == 2
    assert "has a record of a newer latentbench" in capsys.readouterr().err
    assert cli.main(["retry", str(out), "--failed"]) == 0
    assert capsys.readouterr().err.count("kept, of a newer latentbench") == jobs
    assert contents(out) == before


def test_it_is_neither_merged_nor_overwritten(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [*read_plans(Store(out))[0].jobs]
    assert len(merge([out], tmp_path / "c").newer) == len(jobs)
    assert not list((tmp_path / "c").glob("jobs/*/*/record.json"))
    assert cli.main(["merge", str(out), "--out", str(tmp_path / "d")]) == 1
    assert capsys.readouterr().err.count("left out, of a newer latentbench: ") == len(jobs)
    older = shutil.copytree(out, tmp_path / "older")
    kind, key = jobs[0].split("/")
    (older / "jobs" / kind / key / "record.json").unlink()
    Store(older).save(Record(kind=kind, key=key, status="finished"))
    before = contents(out)
    assert cli.main(["merge", str(older), "--out", str(out)]) == 2
    assert f"{jobs[0]} has a record of a newer latentbench in {out}" in capsys.readouterr().err
    assert contents(out) == before


@pytest.mark.parametrize("part", ["plans", "suites"])
def test_newer_plans_and_suites_stay(out: Path, suite: Path, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(out / "jobs")
    (path,) = (out / part).iterdir()
    known = plan_overview.SCHEMA if part == "plans" else SUITE_SCHEMA
    old, new = (f'"schema":{" " * (part == "suites")}{n}'.encode() for n in (known, known + 1))
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    before = contents(out)
    capsys.readouterr()
    for words in (["run", str(suite), "--out", str(out), "--engine", "leases", "--plan-only"], ["gc", str(out)]):
        assert cli.main(words) == 2
        told: Any = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1
        assert "newer" in told[0]
        assert "update latentbench" in told[0]
    assert contents(out) == before


def damaged(out: Path, job: str, how: str) -> Path:
    """The job finished, with an artifact, and its record or the artifact damaged since; the file that is named."""
    folder = out / "jobs" / job
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_bytes(b"12")
    (folder / "record.json").unlink(missing_ok=True)
    kind, key = job.split("/")
    digests = {"weights": file_digest(folder / "weights")}
    Store(out).save(Record(kind=kind, key=key, status="finished", artifacts={"weights": 2}, digests=digests))
    path = folder / ("record.json" if how in ("cut", "flipped") else "weights")
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-30], "flipped": content.replace(b"finish", b"Finish")}.get(how, b"123"))
    return path if path.name == "record.json" else folder


HOW = [
    ("cut", "cut short"),
    ("flipped", "its digest (run.sha256) is another"),
    ("size", "weights has another size than its record says"),
    ("gone", "weights can't be read (No such file or directory)"),
]


@pytest.mark.parametrize(("how", "why"), HOW)
def test_what_is_damaged_is_named_with_the_reason(
    out: Path, suite: Path, tmp_path: Path, how: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(out / "jobs")
    (job, *_) = read_plans(Store(out))[0].jobs
    place = damaged(out, job, how)
    capsys.readouterr()
    assert cli.main(["merge", str(out), "--out", str(tmp_path / "c")]) == 1
    assert f"left out, damaged: {place}: {why}" in capsys.readouterr().err
    if place.name == "record.json":  # whether artifacts are there a status does not look
        assert cli.main(["status", str(out)]) == 0
        told = capsys.readouterr().out
        assert "1 damaged" in told
        assert f"{place}: {why}" in told
        row = rows([out])[0]
        assert str(row["status"]).startswith(f"damaged: {job.partition('/')[0]}: {why}")
    assert cli.main(["run", str(suite), "--engine", "leases", "--plan-only", "--out", str(out)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"damaged {read_plans(Store(out))[0].jobs[job].title}: {place}: {why}" in told
    assert "it is done again" in told


def test_a_damaged_record_does_not_keep_a_job_from_being_cancelled(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(out / "jobs")
    (job, *_) = read_plans(Store(out))[0].jobs
    damaged(out, job, "cut")
    assert cli.main(["cancel", str(out), job]) == 0
    record = Store(out).load_any(*job.split("/"))
    assert record is not None
    assert record.error is not None
    assert record.error.type == "Cancelled"
