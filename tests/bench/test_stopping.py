"""A request to stop cuts a job off, except where somebody polls."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from latentbench.bench.stopping import Stop


@pytest.fixture
def stop() -> Iterator[Stop]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stop = Stop()
    stop.listen()
    yield stop
    for number, handler in before.items():
        signal.signal(number, handler)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_cuts_a_job_off(stop: Stop) -> None:
    assert not stop()
    with pytest.raises(KeyboardInterrupt):
        ask()
    assert stop()


def test_it_waits_where_somebody_polls(stop: Stop) -> None:
    def poll() -> None:
        with stop.held():
            ask()
            if stop():
                raise RuntimeError("stopped by itself")

    with pytest.raises(RuntimeError, match="stopped by itself"):
        poll()


def test_a_request_that_nobody_answered_cuts_the_job_off_afterwards(stop: Stop) -> None:
    reached = []

    def train() -> None:
        with stop.held():
            ask()
            reached.append("the end, before the next poll")

    with pytest.raises(KeyboardInterrupt):
        train()
    assert reached


def test_after_training_it_cuts_off_again(stop: Stop) -> None:
    with stop.held():
        assert not stop()
    with pytest.raises(KeyboardInterrupt):
        ask()


def test_the_end_of_a_job_is_not_cut_off(stop: Stop) -> None:
    stop.hold()
    ask()
    with stop.held():
        pass
    assert stop()


def test_an_interrupt_is_the_engine_s_affair(stop: Stop) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    assert not stop()
