"""The commit of an install: pip's word for one from git, the checkout's own for an editable one, none for a release."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from latentbench.bench.commit import commit_of


def git(folder: Path, *arguments: str) -> str:
    who = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.c",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "core.hooksPath=/dev/null",
    ]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_an_editable_install_has_its_checkout_s(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    facts: dict[str, object] = {"url": folder.as_uri(), "dir_info": {"editable": True}}
    assert commit_of(facts) is None
    git(folder, "init", "-q")
    assert commit_of(facts) is None  # nothing is committed yet
    (folder / "x").write_text("1")
    git(folder, "add", "x")
    git(folder, "commit", "-q", "-m", "m")
    head = git(folder, "rev-parse", "HEAD")
    assert commit_of(facts) == head
    git(folder, "tag", "v1")
    (folder / "y").write_text("git does not know it")
    assert commit_of(facts) == head
    (folder / "x").write_text("2")
    assert commit_of(facts) == f"{head}-dirty"
    (folder / "inside").mkdir()
    assert commit_of({**facts, "url": (folder / "inside").as_uri()}) is None


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"url": "https://x.y/z.git", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}}, "a" * 40),
        ({"url": "https://x.y/z.git", "vcs_info": {"vcs": "git", "commit_id": "main"}}, None),
        ({"url": "file:///nowhere", "dir_info": {}}, None),
        ({"url": "file:///nowhere", "dir_info": {"editable": True}}, None),
        ({"url": "https://x.y/z.whl", "archive_info": {}}, None),
        ({}, None),
    ],
)
def test_what_pip_says(facts: dict[str, object], expected: str | None) -> None:
    assert commit_of(facts) == expected
