from __future__ import annotations

import pytest
import torch

from latentbench.tasks import stopwatch
from latentbench.tasks.stopwatch import Stopwatch, rate


def test_seconds_inside_add_up_and_those_outside_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stopwatch.time, "monotonic", lambda: now[0])
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch:
            now[0] += 1.5
        now[0] += 10
    assert watch.seconds == 3.0


def test_rate() -> None:
    assert rate(10, 4.0) == 2.5
    assert rate(1, 3.0) == pytest.approx(0.3333)
    assert rate(1, 0.0) is None
