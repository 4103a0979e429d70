from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from latentbench.bench.datasets import files
from latentbench.bench.datasets.files import find_folder, hash_files, list_files
from latentbench.bench.datasets.source import silent
from latentbench.results.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_recursive_sorted_without_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.PNG", "a.png", "b/1.png", ".hidden.png", ".git/x.png", "b/c/3.txt", "z.jpg")
    assert list_files(tmp_path, (".png", ".jpg")) == (["a.png", "b/1.png", "b/2.PNG", "z.jpg"], [])
    assert "b/c/3.txt" in list_files(tmp_path)[0]


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
    monkeypatch.setattr(files.os, "scandir", lambda path: list(scan(path))[::-1])
    assert list_files(tmp_path) == expected


def test_hashes_are_remembered(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    touch(root, "a", "b/c")
    for name in ("a", "b/c"):
        os.utime(root / name, (1_000_000, 1_000_000))
    hashes, problems = hash_files(root, ["a", "b/c"], cache=cache, progress=silent)
    assert hashes == {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b/c")}
    assert problems == []
    monkeypatch.setattr(files.hashlib, "sha256", lambda data=None: hashlib.md5(data) if data else pytest.fail("read"))
    index = next((cache / "hashes").iterdir())
    monkeypatch.setattr(files, "_read_index", lambda path, index=index: json.loads(index.read_text()))
    assert hash_files(root, ["a", "b/c"], cache=cache, progress=silent)[0] == hashes


def test_fresh_files_are_not_remembered(tmp_path: Path, cache: Path) -> None:
    touch(tmp_path / "root", "a")
    before = hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)[0]
    status = (tmp_path / "root" / "a").stat()
    (tmp_path / "root" / "a").write_text("b")
    os.utime(tmp_path / "root" / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    # Same size, same time: only reading it again tells.
    assert hash_files(tmp_path / "root", ["a"], cache=cache, progress=silent)[0] != before


def test_damaged_index_is_ignored(tmp_path: Path, cache: Path) -> None:
    touch(tmp_path / "root", "a")
    os.utime(tmp_path / "root" / "a", (1_000_000, 1_000_000))
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
