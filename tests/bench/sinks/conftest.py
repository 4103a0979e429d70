"""A job that sinks are told of."""

from __future__ import annotations

import pytest

from latentbench.bench.jobs import Job


@pytest.fixture
def job() -> Job:
    return Job(kind="tokenizer", config={"seed": 0}, versions={"tokenizer": 1}, title="tokenizer a/b \x1b[2J seed=0")
