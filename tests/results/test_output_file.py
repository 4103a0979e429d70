"""What the user names is written to as it is: links stay links, devices devices, pipes pipes."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.results.errors import UserError
from latentbench.results.output_file import is_stdout, is_stream, output_file, write_output
from latentbench.results.record import Record
from latentbench.results.store import Store, atomic_write


def written_into(pipe: Path, write: Callable[[], object]) -> bytes:
    """What somebody who reads the pipe gets."""
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write()
    reader.join(20)
    return got[0]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.csv")
    return tmp_path / "pipe.csv"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    store = Store(tmp_path / "run")
    store.save(Record(kind="reconstruction", key="k", status="finished"))
    names = {"cell": "c", "dataset": "d", "modality": "image", "recipe": "r", "label": "", "seed": 0, "axes": {}}
    store.write_suite("s", [{**names, "jobs": {"reconstruction": "reconstruction/k"}}])
    return store.root


def test_a_file_and_a_new_one_are_replaced_whole(tmp_path: Path) -> None:
    for _ in range(2):
        write_output(tmp_path / "new" / "x", b"content")
        assert (tmp_path / "new" / "x").read_bytes() == b"content"
    assert os.listdir(tmp_path / "new") == ["x"]

    def interrupted() -> None:
        with output_file(tmp_path / "new" / "x") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "new" / "x").read_bytes() == b"content"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("old")
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "dangling").symlink_to("there/later")
    for name, target in (("link", "file"), ("dangling", "later")):
        write_output(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()
        assert not (tmp_path / "there" / target).is_symlink()
        assert (tmp_path / "there" / target).read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path / "there")) == ["file", "later"]


def test_a_pipe_is_written_into(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pipe)
    for path in (pipe, tmp_path / "link"):
        assert written_into(pipe, lambda path=path: write_output(path, b"content")) == b"content"
        assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe.csv"]


def test_a_device_is_written_into(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.read_bytes()
    except OSError:
        pytest.skip("devices can't be made here")
    write_output(device, b"gone")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert os.listdir(tmp_path) == ["null"]


@pytest.mark.parametrize("kind", [stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_what_nobody_can_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    path = tmp_path / "there"
    real = os.stat
    facts = os.stat_result((kind | 0o666, *[0] * 9))
    monkeypatch.setattr(os, "stat", lambda p, **k: facts if p == path else real(p, **k))
    with pytest.raises(UserError, match=r"cannot write .*there: it is a (disk|socket|folder); expected a file's name"):
        write_output(path, b"content")
    assert os.listdir(tmp_path) == []


def test_an_open_descriptor_gets_it(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"before ")
        file.flush()
        path = Path(f"/dev/fd/{file.fileno()}")
        assert is_stream(path)
        write_output(path, b"content")
        file.write(b" after")
    assert (tmp_path / "file").read_bytes() == b"before content after"
    assert is_stdout(Path("/dev/stdout"))
    assert is_stdout(Path("/dev/fd/1"))
    assert not is_stdout(Path("/dev/stderr"))


def test_no_file_of_ours_takes_the_place_of_a_pipe_or_a_socket(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="it is a device, a pipe or a socket, and no file"):
        atomic_write(pipe, b"content")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket's path has to be short
        server.bind("socket")
        with pytest.raises(UserError, match="it is a device, a pipe or a socket"):
            atomic_write(tmp_path / "socket", b"content")
    assert sorted(os.listdir(tmp_path)) == ["pipe.csv", "socket"]


def test_export_leaves_a_pipe_a_pipe(pipe: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = written_into(pipe, lambda: cli.main(["export", str(run_folder), "--csv", str(pipe)]))
    assert content.startswith(b"source,suite,cell,")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert capsys.readouterr().out.startswith("1 row")


def test_rows_on_standard_output_stand_there_alone(run_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(run_folder), "--csv", "/dev/stdout"]) == 0
    told = capfd.readouterr()
    assert told.out.startswith("source,suite,cell,")
    assert len(told.out.splitlines()) == 2
    assert "columns: /dev/stdout" in told.err


EMPTY = [
    *(["export", "DIR", "--csv", ""], ["export", "DIR", "--parquet", " "], ["merge", "DIR", "--out", ""]),
    *(["merge", "", "--out", "DIR"], ["plot", "DIR", "--out", ""], ["report", "DIR", "--out", ""]),
    *(["status", ""], ["gc", ""], ["work", ""], ["leaderboard", ""], ["publish", "DIR", "--out", ""]),
    *(["gallery", "DIR", "--out", ""], ["calibrate", "DIR", "--table", ""], ["retry", "", "--failed"]),
    *(["logs", "", "j"], ["cancel", "", "j"], ["eval", "jpeg", "--out", ""], ["plan", "quickstart", "--out", ""]),
    *(["run", "quickstart", "--out", ""], ["slurm", "quickstart", "--out", ""]),
]


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_no_name_is_not_the_current_folder(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        cli.main([str(tmp_path / "DIR") if word == "DIR" else word for word in words])
    assert exit.value.code == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "expected a name, got nothing" in told.err
    assert os.listdir(tmp_path) == []
