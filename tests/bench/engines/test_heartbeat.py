"""Signs of life: who counts as dead, and when; clocks that jump; machines that sleep."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from latentbench.bench.engines import heartbeat
from latentbench.bench.engines.heartbeat import Heartbeat, Observer
from latentbench.results import activity
from latentbench.results.errors import UserError


class Beats:
    """Heartbeats that can stop like those of a process that hangs: without a word, and with the lock held."""

    def __init__(self, root: Path) -> None:
        self.root, self.lost, self.until = root, list[str](), list[float]()
        self.all: list[Heartbeat] = []

    def __call__(self, expiry: float = 3600.0) -> Heartbeat:
        beat = Heartbeat(self.root, expiry=expiry, renewed=self.until.append, lost=lambda: self.lost.append("lost"))
        beat.start()
        self.all.append(beat)
        return beat


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[Beats]:
    started = Beats(tmp_path)
    yield started
    for beat in started.all:
        beat.stop()


def renewed(beat: Heartbeat) -> None:
    assert beat._renew()


def wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_a_counter_that_stands_still_is_a_death(beats: Beats, tmp_path: Path) -> None:
    beat, now = beats(60.0), [1000.0]
    # This machine never lets go of the lock, as one elsewhere.
    observer = Observer(root=tmp_path, expiry=1.0, clock=lambda: now[0])
    for _ in range(5):
        assert observer.alive(beat.name)
        now[0] += 50
        renewed(beat)
    assert observer.alive(beat.name)
    now[0] += 59.9
    assert observer.alive(beat.name)
    now[0] += 0.2
    # Declared dead; it may have given a sign in that moment, and gets two beats of ten seconds to notice.
    assert observer.alive(beat.name)
    assert not beat.path.exists()
    now[0] += 19.9
    assert observer.alive(beat.name)
    now[0] += 0.2
    assert not observer.alive(beat.name)
    assert not beat._renew()


def test_clocks_of_machines_are_not_compared(beats: Beats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = beats(60.0)
    observer = Observer(root=tmp_path, expiry=60.0, clock=lambda: 5.0)
    for wall in (0.0, 4e9, 1.0):  # 1970, 2096, and back
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        os.utime(beat.path, (wall, wall))
        assert observer.alive(beat.name)
        assert beat.check()


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(beats: Beats, tmp_path: Path) -> None:
    beat = beats()
    observer = Observer(root=tmp_path, expiry=3600.0)
    assert observer.alive(beat.name)
    worker = os.dup(beat.descriptor)  # as a worker of it holds one
    os.close(beat.descriptor)
    assert observer.alive(beat.name)
    for left in (".new", ".json"):  # it was killed while it told what it ran
        beat.path.with_suffix(left).write_text("{}")
    os.close(worker)
    assert not observer.alive(beat.name)
    assert not observer.alive(beat.name), "its file is gone, which alone could be a mistake of somebody"
    assert list(beat.path.parent.iterdir()) == []
    beat.descriptor = os.open(os.devnull, os.O_RDONLY)


def test_without_locks_only_the_counter_counts(beats: Beats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(heartbeat.fcntl, "flock", refused)
    beat = beats()
    assert json.loads(beat.path.read_bytes().splitlines()[1]) == {"boot": "", "expiry": 3600.0}
    monkeypatch.undo()
    assert Observer(root=tmp_path, expiry=3600.0).alive(beat.name)


def test_one_that_is_declared_dead_notices(beats: Beats) -> None:
    beat = beats(1.2)
    beat.path.unlink()
    wait(lambda: bool(beats.lost))
    assert not beat.check()


def test_a_machine_that_slept_counts_on_nothing(beats: Beats, monkeypatch: pytest.MonkeyPatch) -> None:
    beat = beats(1.2)
    assert beat.check()
    slept = heartbeat.uptime() + 100.0
    monkeypatch.setattr(heartbeat, "uptime", lambda: slept)
    assert not beat.check()  # before its thread has looked
    wait(lambda: bool(beats.lost))
    assert beat.path.exists()  # the sign was never given again: others find it dead by themselves


def test_signs_are_given_on_time(beats: Beats) -> None:
    beats(1.2)
    wait(lambda: len(beats.until) > 3)
    assert beats.until == sorted(beats.until)
    assert beats.until[-1] - heartbeat.uptime() < 0.6


def test_signs_come_often_enough_to_be_shown() -> None:
    assert heartbeat.beat_seconds(60.0) == 10.0
    assert 3 * heartbeat.beat_seconds(24 * 3600.0) < activity._SILENT_SECONDS


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("in the way")
    beat = Heartbeat(tmp_path, expiry=60.0, renewed=lambda _: None, lost=lambda: None)
    with pytest.raises(UserError, match=r"^cannot write .*\.beat: "):
        beat.start()
