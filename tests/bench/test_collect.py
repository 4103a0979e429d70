"""What gc frees, and what it never does."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.bench.worker_protocol import RUNG_CHECKPOINT
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished job with an artifact in a folder of its own, one that failed, one that another reads, one unnamed."""
    store = Store(tmp_path / "out")
    for key, status, depends in (
        ("done", "finished", ("fake/read",)),
        ("read", "finished", ()),
        ("failed", "failed", ()),
        ("unnamed", "finished", ()),
    ):
        folder = store.job_folder("fake", key)
        (folder / "log").mkdir(parents=True)
        (folder / "log" / "attempt-1.log").write_text("said")
        (folder / "checkpoint.safetensors").write_bytes(bytes(1000))
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(bytes(10))
        (folder / "deep" / ".weights.1.latentbench-tmp").write_bytes(bytes(200))
        artifacts = {"deep/weights": 10} if status == "finished" else {}
        error = Failure(type="E", message="m") if status == "failed" else None
        record = Record(kind="fake", key=key, status=status, depends=depends, artifacts=artifacts, error=error)
        store.save(record)
    cell = {"cell": "c", "dataset": "d", "modality": "image", "recipe": "r", "label": "", "axes": {}, "seed": 0}
    store.write_suite("s", [{**cell, "jobs": {"fake": "fake/done", "other": "fake/failed"}}])
    return store.root


def files(out: Path) -> set[str]:
    return {str(path.relative_to(out / "jobs" / "fake")) for path in out.glob("jobs/fake/**/*") if path.is_file()}


def test_only_what_nothing_needs_goes(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(out)
    assert cli.main(["gc", str(out), "--list"]) == 0
    listed = capsys.readouterr().out
    assert "4 left by a killed worker: 0.0 MB" in listed
    assert "1 of jobs that no suite names any more" in listed
    assert files(out) == before
    assert cli.main(["gc", str(out), "--yes"]) == 0
    kept = {"record.json", "log/attempt-1.log", "deep/weights"}
    expected = {f"{key}/{name}" for key in ("done", "read") for name in kept}
    expected |= {name for name in before if name.startswith("failed/")}  # it may be tried again from its checkpoint
    assert files(out) == expected
    capsys.readouterr()
    assert cli.main(["gc", str(out), "--yes"]) == 0
    assert capsys.readouterr().out == "nothing to free\n"


def test_a_finished_trainings_curve_stays(out: Path) -> None:
    for key in ("done", "unnamed"):
        (out / "jobs" / "fake" / key / "curve.jsonl").write_text('{"step": 1}\n')
    assert cli.main(["gc", str(out), "--yes"]) == 0
    assert [name for name in sorted(files(out)) if name.endswith("curve.jsonl")] == ["done/curve.jsonl"]


def test_a_training_that_was_stopped_early_can_go_on(out: Path) -> None:
    stopped = out / "jobs" / "fake" / "done" / RUNG_CHECKPOINT
    stopped.write_bytes(b"state")
    assert cli.main(["gc", str(out), "--yes"]) == 0
    assert stopped.read_bytes() == b"state"


@pytest.mark.parametrize(("answer", "removes"), [("", False), ("n\n", False), ("y\n", True)])
def test_it_asks(out: Path, monkeypatch: pytest.MonkeyPatch, answer: str, removes: bool) -> None:
    before = files(out)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert cli.main(["gc", str(out)]) == 0
    assert (files(out) != before) == removes


def test_not_under_a_run(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from latentbench.bench.folder_lock import locked

    with locked(out):
        assert cli.main(["gc", str(out), "--yes"]) == 2
    assert "another run is using it" in capsys.readouterr().err
    assert cli.main(["gc", str(out / "none"), "--yes"]) == 2
    assert not (out / "none").exists()


def test_what_a_user_has_put_there_stays(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [out / "jobs" / "fake" / key / name for key in ("done", "unnamed") for name in ("notes.txt", "deep/plot.png")]
    for path in own:
        path.write_text("mine")
    assert cli.main(["gc", str(out), "--list"]) == 0
    assert "notes.txt" not in capsys.readouterr().out
    assert cli.main(["gc", str(out), "--yes"]) == 0
    assert all(path.read_text() == "mine" for path in own)
    assert not (own[2].parent / "record.json").exists()
    assert not (own[0].parent / "checkpoint.safetensors").exists()
