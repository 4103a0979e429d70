"""A request to stop cuts a job off, except where somebody polls."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from latentbench.bench.signals import StopSignal


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
