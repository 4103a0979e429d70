"""The processes of a job: how they meet, and that none of them outlives or outwaits another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentbench.bench.rank_processes import Follow, FollowerDone, Ranks
from latentbench.bench.worker_protocol import FAILED, FINISHED, OUT_OF_MEMORY, RANK_DIED
from latentbench.results.record import Failure
from latentbench.tokenizers import ranks

from .processes import await_end

# Python 3.12 and newer say so of every process with threads; these compute nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

CPU = torch.device("cpu")
FAILURE = Failure(type="ValueError", message="no good", where="net.py:3")


def led(lead: Callable[[Ranks], int], follow: Follow, *, count: int = 2) -> int:
    """The exit code of a worker that starts `count` ranks and calls `lead`."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            torch.set_num_threads(1)
            own = Ranks(count=count)
            own.start(follow)
            status = lead(own)
            own.close()
        finally:
            os._exit(status)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail("the worker waits for ever")


def waiting(own: Ranks) -> int:
    """A leader, or a follower, that hears of nothing."""
    time.sleep(60)
    return 98


def added(own: Ranks) -> float:
    """The mean of the ranks' numbers."""
    mean = torch.tensor([float(own.number)])
    with own.joined(CPU):
        ranks.average_([mean])
    return float(mean)


def tell(path: Path, text: str) -> None:
    """Write a file that has its text as soon as it is there: who waits for it reads it at once."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


def test_ranks_meet_and_all_but_the_first_are_done_then(tmp_path: Path) -> None:
    def follow(own: Ranks) -> tuple[int, Failure | None]:
        with pytest.raises(FollowerDone):
            added(own)
        tell(tmp_path / f"{own.number}", f"{os.environ['RANK']} of {os.environ['WORLD_SIZE']}")
        return FINISHED, None

    def lead(own: Ranks) -> int:
        mean = added(own)
        while len(list(tmp_path.glob("?"))) < 2:
            time.sleep(0.01)
        return int(mean == 1.0 and ranks.count() == 1 and os.environ["RANK"] == "0")

    assert led(lead, follow, count=3) == 1
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["1 of 3", "2 of 3"]


def test_one_rank_is_the_process_itself() -> None:
    own = Ranks()
    own.start(lambda own: pytest.fail("nobody follows"))
    with own.joined(CPU):
        assert (own.count, ranks.count(), ranks.number()) == (1, 1, 0)


def _killed(own: Ranks) -> tuple[int, Failure | None]:
    os.kill(os.getpid(), signal.SIGKILL)
    return FINISHED, None


def test_a_rank_that_dies_ends_the_job(capfd: pytest.CaptureFixture[str]) -> None:
    assert led(waiting, _killed) == RANK_DIED
    assert "rank 1 has ended (exit code 79), and so does the job" in capfd.readouterr().out


def test_a_rank_that_runs_out_of_memory_ends_the_job_as_if_the_job_had() -> None:
    assert led(waiting, lambda own: (OUT_OF_MEMORY, None)) == OUT_OF_MEMORY


def test_what_a_rank_fails_of_is_told_to_the_first() -> None:
    def lead(own: Ranks) -> int:
        return 7 if own.other_failure() == FAILURE else 8

    assert led(lead, lambda own: (FAILED, FAILURE)) == 7


def test_the_death_of_the_first_ends_the_others(tmp_path: Path) -> None:
    def follow(own: Ranks) -> tuple[int, Failure | None]:
        tell(tmp_path / "told", str(os.getpid()))
        return waiting(own), None

    def lead(own: Ranks) -> int:
        while not (tmp_path / "told").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert led(lead, follow) == -signal.SIGKILL
    await_end([int((tmp_path / "told").read_text())])


def test_a_signal_to_the_group_is_the_first_rank_s_to_answer() -> None:
    def follow(own: Ranks) -> tuple[int, Failure | None]:
        os.kill(os.getpid(), signal.SIGTERM)
        return FAILED, FAILURE  # and so it lives

    def lead(own: Ranks) -> int:
        return 7 if own.other_failure() == FAILURE else 8

    assert led(lead, follow) == 7


def test_none_is_left_when_the_job_has_ended(tmp_path: Path) -> None:
    def follow(own: Ranks) -> tuple[int, Failure | None]:
        (tmp_path / str(os.getpid())).touch()
        return waiting(own), None

    def lead(own: Ranks) -> int:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        return 5

    assert led(lead, follow, count=3) == 5, "and their end is no death"
    await_end(int(path.name) for path in tmp_path.iterdir())
