"""A request to stop cuts a job off, except where somebody polls."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from latentbench.bench.signals import KernelTimer, StopSignal, uptime


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = StopSignal()
    stop.listen()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_cuts_a_job_off(stop: StopSignal) -> None:
    assert not stop()
    with pytest.raises(KeyboardInterrupt):
        ask()
    assert stop()


def test_it_waits_where_somebody_polls(stop: StopSignal) -> None:
    def poll() -> None:
        with stop.held():
            ask()
            if stop():
                raise RuntimeError("stopped by itself")

    with pytest.raises(RuntimeError, match="stopped by itself"):
        poll()


def test_a_request_that_nobody_answered_cuts_the_job_off_afterwards(stop: StopSignal) -> None:
    reached = []

    def train() -> None:
        with stop.held():
            ask()
            reached.append("the end, before the next poll")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert reached


def test_after_training_it_cuts_off_again(stop: StopSignal) -> None:
    with stop.held():
        assert not stop()
    with pytest.raises(KeyboardInterrupt):
        ask()


def test_the_end_of_a_job_is_not_cut_off(stop: StopSignal) -> None:
    stop.hold()
    ask()
    with stop.held():
        pass
    assert stop()


def test_an_interrupt_is_the_engine_s_affair(stop: StopSignal) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    assert not stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's timers are Linux's")
@pytest.mark.parametrize(("later", "stopped"), [(False, False), (True, False), (False, True)])
def test_the_kernel_ends_a_process_at_its_time_stopped_or_not(later: bool, stopped: bool) -> None:
    ready, tell = os.pipe()
    pid = os.fork()
    if not pid:
        timer = KernelTimer()
        timer.set(uptime() + 0.3)
        if later:
            timer.set(uptime() + 3600.0)
            timer.set(float("inf"))  # changes nothing
        os.write(tell, b".")
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(1.0)
        os._exit(7)
    os.read(ready, 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (7 if later else -signal.SIGKILL)
    os.close(ready)
    os.close(tell)


def test_a_fork_has_no_timer() -> None:
    alive, tell = os.pipe()
    pid = os.fork()
    if not pid:
        KernelTimer().set(uptime() + 0.3)
        if not os.fork():
            time.sleep(0.8)
            os.write(tell, b".")
            os._exit(0)
        time.sleep(60.0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    os.close(tell)
    assert os.read(alive, 1) == b"."
    os.close(alive)
