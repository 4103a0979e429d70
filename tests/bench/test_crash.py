"""Runs that are killed at any moment and started again: nothing is lost or redone, and every number is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from .processes import await_end, children, family

pytestmark = pytest.mark.slow


def killed(pids: list[int]) -> bool:
    """Kill the last of them; False where there is none, or none any more."""
    try:
        os.kill(pids[-1], signal.SIGKILL)
    except (IndexError, ProcessLookupError):
        return False
    return True


class Run:
    """A run in the background, with its processes and records."""

    def __init__(self, start: Callable[..., subprocess.Popen[str]], suite: Path, out: Path) -> None:
        self.out = out
        self.process = start("run", suite, "--out", out, "--checkpoint-seconds", "0.1", process_group=0)

    @property
    def servers(self) -> list[int]:
        return children(self.process.pid)

    @property
    def workers(self) -> list[int]:
        return [worker for server in self.servers for worker in children(server)]

    def until(self, reached: Callable[[], Any]) -> bool:
        """Wait for something to happen; False when the run has ended before it did."""
        deadline = time.monotonic() + 200
        while not reached():
            assert time.monotonic() < deadline
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)  # each look is at all processes of the machine
        return True

    def until_training(self, kind: str) -> bool:
        """Wait for a job of that kind to be on its way through its steps."""
        return self.until(
            lambda: any((p.parent / "curve.jsonl").exists() for p in checkpoints(self.out, kind)) and self.workers
        )

    def end(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=600)
        return self.process.returncode, err


def checkpoints(out: Path, kind: str) -> list[Path]:
    return list(out.glob(f"jobs/{kind}/*/checkpoint.safetensors"))


def records(out: Path) -> dict[Path, bytes]:
    return {path.relative_to(out): path.read_bytes() for path in out.glob("jobs/*/*/record.json")}


def content(record: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(record).items() if name != "run"}


def assert_same(out: Path, undisturbed: Path) -> None:
    """Every record byte for byte, times aside; every artifact too; nothing else is left."""
    mine, theirs = records(out), records(undisturbed)
    assert mine.keys() == theirs.keys()
    for path, record in theirs.items():
        assert json.dumps(content(mine[path])) == json.dumps(content(record)), path
        for artifact in json.loads(record)["artifacts"]:
            assert (out / path.parent / artifact).read_bytes() == (undisturbed / path.parent / artifact).read_bytes()
    left = {p.name for p in out.rglob("*")} - {p.name for p in undisturbed.rglob("*")}
    assert all(name.startswith("attempt-") for name in left), left


def test_killed_again_and_again(latentbench: Any, mini_file: Path, undisturbed: Path, tmp_path: Path) -> None:
    finished: dict[Path, bytes] = {}

    def remember() -> None:
        now = records(tmp_path)
        assert finished.items() <= now.items()  # nothing that was finished was done again
        finished.update(now)

    def start() -> Run:
        return Run(latentbench.start, mini_file, tmp_path)

    # before anything has happened, while torch is imported
    run = start()
    run.until(lambda: children(run.process.pid))
    run.process.kill()
    run.end()
    remember()

    # a worker, in the middle of training; then the server: the run goes on by itself
    run = start()
    if run.until_training("tokenizer"):
        run.until(lambda: killed(run.workers))
    run.until(lambda: len(records(tmp_path)) >= 5 and run.workers and killed(run.servers))
    if run.until(lambda: len(records(tmp_path)) >= 7 and run.workers):
        those = family(run.process.pid)
        run.process.kill()  # the run alone: the others follow it
        run.process.wait()
        await_end(those)
    _, err = run.end()
    assert "retried" in err
    remember()

    # the whole family at once
    run = start()
    if run.until(lambda: len(records(tmp_path)) >= 11 and run.workers):
        os.killpg(run.process.pid, signal.SIGKILL)
    run.end()
    remember()

    code, err = start().end()
    assert code == 0, err
    remember()
    assert_same(tmp_path, undisturbed)


@pytest.fixture
def signals_heard() -> Iterator[None]:
    """What the tests start hears Ctrl-C and the terminal's end, even where the tests themselves do not: `nohup` has
    SIGHUP ignored, a shell's `&` in a script SIGINT."""
    handlers = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_heard")
def test_interrupted_by_hand(latentbench: Any, mini_file: Path, undisturbed: Path, tmp_path: Path) -> None:
    def five_times(run: Run) -> None:
        for _ in range(5):
            os.killpg(run.process.pid, signal.SIGINT)
            time.sleep(0.1)

    for interrupt in (
        five_times,  # as somebody impatient at a terminal does
        lambda run: os.killpg(run.process.pid, signal.SIGHUP),  # as a terminal does that is closed
        lambda run: run.process.terminate(),  # as a cluster does
    ):
        run = Run(latentbench.start, mini_file, tmp_path)
        assert run.until_training("tokenizer")
        those = family(run.process.pid)
        interrupt(run)
        code, err = run.end()
        assert code == 130
        assert err.splitlines()[-1] == "latentbench: interrupted; the same command continues where it stopped"
        assert "Traceback" not in err
        await_end(those)
        failed = [record for content in records(tmp_path).values() if (record := json.loads(content)).get("error")]
        assert not failed, "what was interrupted has not failed"
    (checkpoint,) = checkpoints(tmp_path, "tokenizer")[:1]
    with safe_open(checkpoint, framework="pt") as file:
        assert 0 < json.loads(file.metadata()["state"])["step"] <= 60
    before = records(tmp_path)
    code, err = Run(latentbench.start, mini_file, tmp_path).end()
    assert code == 0, err
    assert before.items() <= records(tmp_path).items()
    assert_same(tmp_path, undisturbed)


def test_processes_that_share_a_job_are_killed_and_interrupted(
    latentbench: Any, mini: dict[str, Any], write_suite: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    mini["tokenizers"], mini["tasks"] = [{"recipe": "vq-vae-ema", "downsample": 4, "width": 8}], ["reconstruction"]
    mini["training"] |= {"steps": 100, "devices": 2}
    mini["features"] = []  # the one job in question, and what measures it
    suite = write_suite(mini)
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two processes share a job here, and there is one core")

    def start() -> Run:
        return Run(latentbench.start, suite, tmp_path / "out")

    def followers(run: Run) -> list[int]:
        return [follower for worker in run.workers for follower in children(worker)]

    run = start()
    assert run.until_training("tokenizer")
    (follower,) = followers(run)
    assert killed([follower])
    # a look at all processes takes a while, in which one may go: those of one look, without the first
    assert run.until(lambda: set(followers(run)) - {follower})
    assert run.until_training("tokenizer")
    those = family(run.process.pid)
    os.killpg(run.process.pid, signal.SIGTERM)
    code, err = run.end()
    assert code == 130
    assert "retried" in err, err
    await_end(those)

    code, err = start().end()
    assert code == 0, err
    done = latentbench("run", suite, "--out", tmp_path / "undisturbed")
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path / "out", tmp_path / "undisturbed")
