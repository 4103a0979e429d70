"""The probes task: measurements on a trained tokenizer that test what is claimed of its family."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from ..results.metric import Metric
from ..results.record import JobResult
from .config import ProbesConfig
from .probes import default_probes, probes
from .probes.interface import Probe, ProbeInput


@torch.no_grad()
def probe(
    probed: ProbeInput,
    config: ProbesConfig,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> JobResult:
    """Measure `config.names` (empty: all but those on request) as far as each makes sense.

    `extra` of the result has the reasons by probe where one does not, `run` the seconds that each took.
    """
    metrics: list[Metric] = []
    refused: dict[str, str] = {}
    seconds: dict[str, float] = {}
    names = config.names or default_probes()
    for done, name in enumerate(names):
        started = time.monotonic()
        one: Probe = probes.get(name)().build()
        reason = one.unsupported_reason(probed)
        if reason is not None:
            refused[name] = reason
        else:
            metrics += (replace(m, role="probe", shown=one.config.shown) for m in one.measure(probed))
            seconds[name] = round(time.monotonic() - started, 3)
        progress(done + 1, len(names), name)
    return JobResult(metrics=tuple(metrics), extra={"refused": refused}, run={"probe_seconds": seconds})
