"""What engine and worker agree on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.worker_protocol import (
    CHECKPOINT,
    CONTINUES,
    RUNG_CHECKPOINT,
    ProgressFile,
    WorkerRequest,
    clean_attempt,
    continue_training,
    drop_continued,
    read_began,
    read_progress,
    start_attempt,
)
from latentbench.results.store import Store, atomic_file


def test_an_order_survives_the_pipe(tmp_path: Path) -> None:
    job = Job(
        kind="prior", config={"a": [1]}, versions={"x": 2}, depends={"data": "data/1"}, title="t", runtime={"p": "q"}
    )
    order = WorkerRequest(
        job=job,
        root="out",
        cache="cache",
        device="cpu",
        threads=2,
        attempt=1,
        log=str(start_attempt(tmp_path / "jobs")),
        checkpoint_seconds=1.5,
    )
    data = json.loads(json.dumps(order.to_json()))
    assert WorkerRequest.from_json(data) == order
    assert order.folder == tmp_path / "jobs"
    data["job"]["config"]["a"] = [2]
    with pytest.raises(ValueError, match="is not its job's"):
        WorkerRequest.from_json(data)


def test_a_training_goes_on_from_the_last_rung_that_is_there(tmp_path: Path) -> None:
    store, job = (
        Store(tmp_path),
        Job(kind="tokenizer", config={}, versions={}, runtime={CONTINUES: ["rung/2", "rung/1"]}),
    )
    folder = store.job_folder(job.kind, job.key)
    continue_training(job, folder, store)
    assert not folder.exists(), "it begins anew"

    def begun(name: str) -> bytes:
        place = folder if name == job.key else store.job_folder("rung", name)
        place.mkdir(parents=True, exist_ok=True)
        (place / RUNG_CHECKPOINT).write_text(name)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        continue_training(job, folder, store)
        return (folder / CHECKPOINT).read_bytes()

    assert [begun(name) for name in ("1", "2", job.key)] == [b"1", b"2", job.key.encode()]
    (folder / CHECKPOINT).write_text("own")
    continue_training(job, folder, store)
    assert (folder / CHECKPOINT).read_text() == "own", "an attempt that was stopped goes on"
    clean_attempt(folder)
    drop_continued(job, store)
    assert [path.parent for path in tmp_path.rglob("*.safetensors")] == [folder], "its own is for others"
    drop_continued(job, store)


def test_an_attempt_starts_without_the_record_of_the_last(tmp_path: Path) -> None:
    (tmp_path / "record.json").touch()
    start_attempt(tmp_path)
    assert not (tmp_path / "record.json").exists()


def test_logs_are_numbered_on(tmp_path: Path) -> None:
    names = []
    for _ in range(11):
        log = start_attempt(tmp_path)
        log.touch()
        names.append(log.name)
    assert names == [f"attempt-{i}.log" for i in range(1, 12)]
    (tmp_path / "log" / "attempt-x.log").touch()
    assert start_attempt(tmp_path).name == "attempt-12.log"


def test_progress_is_written_at_most_twice_a_second_and_at_the_end(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    tell = ProgressFile(tmp_path)
    tell(1, 10, "loss 3")
    tell(2, 10, "loss 2")
    assert read_progress(tmp_path) == (1, 10, "loss 3")
    tell(10, 10, "loss 1, at last")
    assert read_progress(tmp_path) == (10, 10, "loss 1, at last")
    (tmp_path / "progress").write_text("garbage")
    assert read_progress(tmp_path) is None


def test_progress_is_a_courtesy(tmp_path: Path) -> None:
    ProgressFile(tmp_path / "missing")(1, 2, "x")


def test_tidy_leaves_what_counts(tmp_path: Path) -> None:
    for name in ("record.json", "model.safetensors", "checkpoint.safetensors", "progress", "progress.new"):
        (tmp_path / name).touch()
    with atomic_file(tmp_path / "config.json") as temporary:
        temporary.touch()
        (tmp_path / temporary.name.replace("config", "half")).touch()  # as a killed writer leaves it
    assert len(list(tmp_path.iterdir())) == 7
    clean_attempt(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "record.json"]
    (tmp_path / "part-a").mkdir()
    (tmp_path / "part-a" / "checkpoint.safetensors").touch()
    clean_attempt(tmp_path)
    assert not (tmp_path / "part-a").exists()
    clean_attempt(tmp_path / "missing")


def test_an_attempt_says_where_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.bench.worker_protocol._PROGRESS_SECONDS", 0.0)
    assert read_began(tmp_path) is None
    progress = ProgressFile(tmp_path)
    for done in (50, 60):  # the first fifty are an earlier attempt's
        progress(done, 100, "loss 1")
    assert (read_began(tmp_path) or ())[:2] == (50, 100)
    progress(1, 3, "another pass")
    progress(2, 3, "another pass")
    first, total, since = read_began(tmp_path) or (0, 0, 0.0)
    assert (first, total) == (1, 3)
    assert since == pytest.approx(time.time(), abs=60)
    start_attempt(tmp_path)
    assert read_began(tmp_path) is None
    progress(3, 3, "")
    clean_attempt(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
