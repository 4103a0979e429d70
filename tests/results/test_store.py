from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from latentbench.results.errors import UserError
from latentbench.results.record import Failure, InvalidRecord, Record
from latentbench.results.store import Store, atomic_file, atomic_folder, atomic_write, remove_leftovers

FINISHED = Record(kind="prior", key="ab", status="finished", artifacts={"w.npy": 3})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "out")
    atomic_write(store.job_folder("prior", "ab") / "w.npy", b"123")
    store.save(FINISHED)
    return store


def test_layout_and_round_trip(store: Store) -> None:
    folder = store.root / "jobs" / "prior" / "ab"
    assert store.job_folder("prior", "ab") == folder
    assert (folder / "record.json").read_bytes() == FINISHED.to_bytes()
    assert store.load("prior", "ab") == FINISHED
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "w.npy"]


def test_only_a_whole_finished_record_is_loaded(store: Store) -> None:
    folder = store.job_folder("prior", "ab")
    assert store.load("prior", "cd") is None
    assert store.load_any("prior", "cd") is None

    (folder / "w.npy").write_bytes(b"12")
    assert store.load("prior", "ab") is store.outcome("prior", "ab") is None
    assert store.load_any("prior", "ab") == FINISHED
    (folder / "w.npy").unlink()
    assert store.load("prior", "ab") is None

    (folder / "record.json").write_bytes(FINISHED.to_bytes()[:-1])
    assert store.load_any("prior", "ab") is None
    with pytest.raises(InvalidRecord, match="cut short"):
        store.read("prior", "ab")

    failed = Record(kind="prior", key="ab", status="failed", error=Failure(type="E", message="m"))
    store.save(failed)
    assert store.load("prior", "ab") is None
    assert store.load_any("prior", "ab") == store.outcome("prior", "ab") == failed


@pytest.mark.parametrize("damage", ["folder", "file", "deep", "null"])
def test_what_cannot_be_read_is_no_record(store: Store, damage: str) -> None:
    path = store.job_folder("prior", "ab") / "record.json"
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "file":
        (path.parent / "w.npy").unlink()
        path.parent.rmdir()
        path.parent.write_text("a file")
    else:
        path.write_bytes(b"[" * 100_000 + b"\n" if damage == "deep" else b"null\n")
    assert store.load_any("prior", "ab") is store.outcome("prior", "ab") is store.load("prior", "ab") is None
    assert store.outcome("prior", "a\0b") is None
    assert list(store.iterate()) == []


def test_a_record_in_the_wrong_folder_is_not_loaded(store: Store) -> None:
    store.job_folder("prior", "ab").rename(store.job_folder("prior", "zz"))
    assert store.load("prior", "zz") is None


def test_iterate_is_ordered_and_skips_what_is_damaged(store: Store) -> None:
    for kind, key in (("zebra", "1"), ("data", "2"), ("data", "1"), ("generation", "1")):
        store.save(Record(kind=kind, key=key, status="finished"))
    (store.job_folder("data", "3")).mkdir()
    (store.job_folder("data", "2") / "record.json").write_bytes(b"{")
    assert [(record.kind, record.key) for record in store.iterate()] == [
        ("data", "1"),
        ("generation", "1"),
        ("prior", "ab"),
        ("zebra", "1"),
    ]
    assert list(Store(store.root / "nothing").iterate()) == []


def test_atomic_write_replaces_and_obeys_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.bin"
    atomic_write(path, b"one")
    atomic_write(path, b"two" * 100_000)
    assert path.read_bytes() == b"two" * 100_000
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert list(path.parent.iterdir()) == [path]


def test_atomic_write_continues_partial_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    atomic_write(tmp_path / "x", b"12345")
    assert (tmp_path / "x").read_bytes() == b"12345"


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_full_or_forbidden_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "x.json"
    atomic_write(path, b"old")

    def fail(*args: object, **options: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(UserError) as caught:
            atomic_write(path, b"new")
    assert str(caught.value).startswith(f"cannot write {path}: {os.strerror(code)}")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_order_is_write_sync_rename_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def logged_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    atomic_write(tmp_path / "x", b"1")
    assert calls == ["file", "rename", "folder"]


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*record\.json: "):
        Store(tmp_path / "out").save(FINISHED)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied; choose a folder"):
        Store(tmp_path / "out").save(FINISHED)


def test_atomic_file_removes_its_temporary_on_any_exception(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_file(tmp_path / "x") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_writer_are_removed(store: Store) -> None:
    folder = store.job_folder("prior", "ab")
    with atomic_file(folder / "y") as temporary:
        temporary.with_name(f".z.99{temporary.suffix}").write_bytes(b"half")
        temporary.write_bytes(b"whole")
    assert len(list(folder.iterdir())) == 4
    remove_leftovers(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "w.npy", "y"]


CELL = {
    "cell": "c",
    "dataset": "d",
    "modality": "image",
    "recipe": "ae",
    "label": "",
    "axes": {},
    "seed": 0,
    "jobs": {"tokenizer": "tokenizer/1"},
}


def test_suites_round_trip_under_any_name(store: Store) -> None:
    assert store.read_suites() == []
    store.write_suite("b/../é", [CELL])
    store.write_suite("a", [])
    assert [(suite["suite"], suite["cells"]) for suite in store.read_suites()] == [("a", []), ("b/../é", [CELL])]
    assert all(path.parent == store.root / "suites" for path in (store.root / "suites").iterdir())


def test_a_flipped_bit_anywhere_in_a_suite_is_noticed_or_means_nothing(store: Store) -> None:
    store.write_suite("s", [CELL])
    path, (before,) = store.suite_path("s"), store.read_suites()
    content = path.read_bytes()
    harmless = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            (read,) = store.read_suites()
        except UserError:
            continue
        harmless += 1
        assert {**read, "sha256": ""} == {**before, "sha256": ""}
    assert harmless < 0.1 * len(content)  # blanks, and the digest's own name


def test_a_damaged_suite_is_one_line_that_names_the_file(store: Store) -> None:
    store.write_suite("s", [CELL])
    path = store.suite_path("s")
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"s\.json: not a suite's cells: ") as caught:
            store.read_suites()
        assert "\n" not in str(caught.value)
    for cell, reason in (
        ({**CELL, "seed": "0"}, r"cells\[0\].seed: input should be a valid integer, got '0'"),
        ({**CELL, "jobs": {"a": "b"}}, r"cells\[0\].jobs.a: string should match pattern"),
        ({**CELL, "jobs": {"a": "a/b\0"}}, r"cells\[0\].jobs.a: string should match pattern"),
        ({**CELL, "jobs": {"a": "a/\udcff"}}, r"cells\[0\].jobs.a: "),
        ({**CELL, "axes": {"x": 10**400}}, "not JSON, or cut short"),
    ):
        store.write_suite("s", [cell])
        with pytest.raises(UserError, match=reason) as caught:
            store.read_suites()
        assert "\n" not in str(caught.value)
    path.write_bytes(b"[" * 100_000 + b"\n")
    with pytest.raises(UserError, match="not a suite's cells"):
        store.read_suites()


def test_a_link_under_a_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda n: "foreseen")
    (tmp_path / ".p.svg.foreseen.latentbench-tmp").symlink_to(mine)
    with pytest.raises(UserError, match=r"cannot write .*p\.svg: File exists"):
        atomic_write(tmp_path / "p.svg", b"new")
    assert mine.read_text() == "precious"
    monkeypatch.undo()
    with atomic_file(tmp_path / "p.svg") as first, atomic_file(tmp_path / "q.svg") as second:
        assert len({first.name[7:], second.name[7:]}) == 2


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_follow_the_umask_whoever_wrote_them(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "x") as temporary:
            temporary.unlink()
            temporary.touch(mode=0o600)  # as some libraries do
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~mask


def test_damage_to_an_artifact_is_told(store: Store) -> None:
    folder = store.job_folder("prior", "ab")
    record = replace(FINISHED, digests={"w.npy": hashlib.sha256(b"123").hexdigest()})
    store.save(record)
    assert store.damage(record) is None
    (folder / "w.npy").write_bytes(b"124")
    assert store.damage(record) == "w.npy has another digest than its record says"
    (folder / "w.npy").write_bytes(b"1234")
    assert store.damage(record) == "w.npy has another size than its record says"
    (folder / "w.npy").unlink()
    assert store.damage(record) == "w.npy can't be read (No such file or directory)"
    store.discard(record)
    store.discard(record)
    assert store.load_any("prior", "ab") is None


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "below" / "new"
    with atomic_folder(place) as folder:
        (folder / "file").write_text("1")
        assert not place.exists()
    assert (place / "file").read_text() == "1"
    with pytest.raises(UserError, match=r"cannot write .*new: "), atomic_folder(place) as folder:
        (folder / "file").write_text("2")
    with pytest.raises(ValueError, match="ended"), atomic_folder(tmp_path / "other") as folder:
        raise ValueError("ended")
    with pytest.raises(UserError, match="cannot write"), atomic_folder(place / "file" / "x"):
        pass
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    with atomic_folder(tmp_path / "link") as folder:
        (folder / "file").write_text("3")
    assert (tmp_path / "empty" / "file").read_text() == "3"
    assert (place / "file").read_text() == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "empty", "link"]
    assert list(place.parent.iterdir()) == [place]
