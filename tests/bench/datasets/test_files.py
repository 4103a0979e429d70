from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from latentbench.bench.datasets import file_table, files
from latentbench.bench.datasets.file_table import hash_files
from latentbench.bench.datasets.files import find_folder, list_files, passed_over, walk
from latentbench.bench.datasets.source import silent
from latentbench.results.errors import UserError


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(file_table, "_SETTLED_NS", -1_000_000_000)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_recursive_sorted_without_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "a.png", "b/1.png", ".hidden.png", ".git/x.png", "b/c/3.txt", "z.jpg")
    assert list_files(tmp_path, (".png", ".jpg")) == (["a.png", "b/1.png", "b/2.PNG", "z.jpg"], [])
    assert "b/c/3.txt" in list_files(tmp_path)[0]


def test_what_is_passed_over_is_counted_by_its_kind(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.TXT", "c/d.txt", "c/e.caf", "README", ".hidden.caf")
    others: Counter[str] = Counter()
    assert sorted(walk(tmp_path, (".png",), [], others)) == ["a.png"]
    assert others == {".txt": 2, ".caf": 1, "none": 1}
    assert passed_over(others) == "4 files of other kinds passed over: .txt, .caf, none"
    assert passed_over(Counter({f".{i}": 1000 for i in range(9)})).endswith(": .0, .1, .2, .3, .4, .5, ...")
    assert passed_over(Counter(".t")).startswith("2 files")
    assert passed_over({}) == ""


def test_links_are_followed_and_loops_are_safe(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root, "a/1.png")
    touch(elsewhere, "2.png")
    (root / "a" / "up").symlink_to(root)
    (root / "linked").symlink_to(elsewhere)
    (root / "broken.png").symlink_to(root / "nothing")
    listed, problems = list_files(root, (".png",))
    assert listed == ["a/1.png", "linked/2.png"]
    assert [name for name, _ in problems] == ["broken.png"]


def test_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(3)))
    expected = list_files(tmp_path)
    scan = os.scandir
    monkeypatch.setattr(files.os, "scandir", lambda path: nullcontext(list(scan(path))[::-1]))
    assert list_files(tmp_path) == expected


@pytest.mark.usefixtures("settled")
def test_hashes_are_remembered(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "root"
    touch(root, "a", "b/c")
    hashes, problems = hash_files(root, ["a", "b/c"], cache=cache, progress=silent)
    expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b/c")}
    assert {name: file.digest for name, file in hashes.items()} == expected
    assert problems == []
    with closing(sqlite3.connect(next((cache / "hashes").iterdir()))) as table, table:
        table.execute("UPDATE known SET digest = x'abcd' WHERE name = x'61'")
    again = hash_files(root, ["a", "b/c"], cache=cache, progress=silent)[0]
    assert {name: file.digest for name, file in again.items()} == {**expected, "a": "abcd"}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("how", ["replaced", "written"])
def test_other_content_of_the_same_size_and_time_is_noticed(how: str, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "root" / "a"
    touch(tmp_path / "root", "a")
    os.utime(file, (315532800, 315532800))
    before = hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)[0]["a"]
    if how == "replaced":
        file.rename(tmp_path / "old")
    file.write_text("b")
    os.utime(file, (315532800, 315532800))
    after = hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)[0]["a"]
    assert (before.state.size, before.state.modified) == (after.state.size, after.state.modified)
    assert after.digest == hashlib.sha256(b"b").hexdigest() != before.digest


def test_a_file_that_is_being_written_is_not_hashed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "root", "a")
    state = files.file_state

    def grows(file: Path | int) -> files.FileState:
        if isinstance(file, Path):
            with file.open("a") as more:
                more.write("x")
        return state(file)

    monkeypatch.setattr(files, "file_state", grows)
    hashes, problems = hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)
    assert hashes == {}
    assert problems == [("a", "can't be read: it changes while it is read")]


def test_fresh_files_are_not_remembered(tmp_path: Path, cache: Path) -> None:
    touch(tmp_path / "root", "a")
    before = hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)[0]
    status = (tmp_path / "root" / "a").stat()
    (tmp_path / "root" / "a").write_text("b")
    os.utime(tmp_path / "root" / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    # Same size, same time: only reading it again tells.
    assert hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)[0] != before


@pytest.mark.usefixtures("settled")
def test_damaged_index_is_ignored(tmp_path: Path, cache: Path) -> None:
    touch(tmp_path / "root", "a")
    before = hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)
    next((cache / "hashes").iterdir()).write_text("{")
    assert hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent) == before


def test_missing_folder_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match=r"no such folder: .*photo; did you mean '.*photos'\?"):
        find_folder(str(tmp_path / "photo"))
    touch(tmp_path, "file.png")
    with pytest.raises(UserError, match="is a file; give the folder that holds it"):
        find_folder(str(tmp_path / "file.png"))
