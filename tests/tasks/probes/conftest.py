"""A probe's input around the toys of tests/tasks/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from latentbench.results.metric import Metric
from latentbench.tasks.distances import Reference
from latentbench.tasks.encoding import write_latents, write_statistics
from latentbench.tasks.latents import LatentStore
from latentbench.tasks.probes import probes
from latentbench.tasks.probes.interface import ProbeInput

CPU = torch.device("cpu")


@pytest.fixture
def probed(toys: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ProbeInput]:
    """A function from a tokenizer and data to a probe's input, with latents written to disk."""

    def make(tokenizer: Any, data: Any = None, *nets: Any, **options: Any) -> ProbeInput:
        folder = tmp_path_factory.mktemp("latents")
        data = data if data is not None else toys.Data(tokenizer.spec.signal)
        with torch.no_grad():
            for name in ("train", "val"):
                write_latents(tokenizer, getattr(data, name), folder, name, device=CPU, batch_size=16)
        write_statistics(folder)
        references = {}
        for net in nets:
            references[net.name] = Reference.of(net(data.val.batch(np.arange(len(data.val)), CPU)), "val")
        fields: dict[str, Any] = {"tokenizer": tokenizer, "data": data, "device": CPU, "batch_size": 7}
        return ProbeInput(
            **fields | options,
            latents=LatentStore.open(folder, tokenizer.spec),
            nets={net.name: net for net in nets},
            references=references,
        )

    return make


@pytest.fixture
def measured() -> Callable[..., dict[str, Metric]]:
    """A function from a probe's name and input to its metrics by name; it must not refuse."""

    @torch.no_grad()
    def measure(name: str, probed: ProbeInput) -> dict[str, Metric]:
        probe = probes.get(name)().build()
        assert probe.unsupported_reason(probed) is None
        return {metric.name: metric for metric in probe.measure(probed)}

    return measure
