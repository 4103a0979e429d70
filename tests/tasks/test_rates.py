"""Rates of a reconstruction: of all latents, and of what operating points decode."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.results.metric import Metric
from latentbench.results.samples import VALUES, read_samples
from latentbench.tasks.config import ReconstructionConfig
from latentbench.tasks.rate_bits import INCREASE
from latentbench.tasks.rate_sample import RateSample
from latentbench.tasks.reconstruction import reconstruct
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve

CPU = torch.device("cpu")


def scored(toys: SimpleNamespace, folder: Path, tokenizer: Any, data: Any, size: int = 7) -> dict[str, Metric]:
    result = reconstruct(tokenizer, data, ReconstructionConfig(batch_size=size), toys.context(folder), references={})
    return {metric.name: metric for metric in result.metrics}


def test_a_depth_takes_the_bits_of_its_own_codes(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data(val=40)
    tokenizer = build(resolve("rvq", toys.IMAGE, {"width": 8, "codebook_size": 16, "levels": 3})).eval()
    tokenizer.on_train_start([data.train.data])
    metrics = scored(toys, tmp_path, tokenizer, data)
    with torch.inference_mode():
        codes = tokenizer.encode(data.val.data).codes
    assert codes is not None
    plug_in = []
    for head in codes.unbind(1):
        _, counts = np.unique(head.numpy(), return_counts=True)
        shares = counts / counts.sum()
        plug_in.append(-float((shares * np.log2(shares)).sum()) * head[0].numel())
    for depth in (1, 2, 3):
        bits = metrics[f"real_bits_depth_{depth}"]
        assert bits.value == pytest.approx(sum(plug_in[:depth]), rel=0.02)  # less what the plug-in estimate lacks
        assert bits.protocol.endswith(f"of what is decoded at depth_{depth}; validation split")
        assert bits.shown == "asked"
        stored = read_samples(tmp_path / VALUES, f"real_bits_depth_{depth}", "data/x")
        assert stored is not None
        assert stored.values.mean() == pytest.approx(bits.value, rel=1e-6)
    assert metrics["real_bits_depth_3"].value == metrics["real_bits"].value
    assert metrics["real_bits_per_pixel_depth_1"].value == pytest.approx(metrics["real_bits_depth_1"].value / 256)


def _half(toys: SimpleNamespace, deviation: float, ratio: float) -> Any:
    class Half(toys.Identity):  # type: ignore[misc, name-defined]
        """Its second way of decoding knows the upper half alone, and leaves the rest grey."""

        def operating_points(self) -> dict[str, Callable[[Latents], Tensor]]:
            return {"half": lambda latents: self.decode(latents) * self.upper, "all": self.decode, "other": self.decode}

        def read_at(self, point: str, latents: Latents) -> Latents | None:
            values = latents.values
            assert values is not None
            return {"half": Latents(values=values[:, :, :8]), "all": latents}.get(point)

        upper = (torch.arange(16) < 8).float().view(1, 1, 16, 1)

    return Half(error=ratio * deviation)


def test_a_prefix_of_values_takes_the_bits_of_the_closed_form(toys: SimpleNamespace, tmp_path: Path) -> None:
    """See `test_rate_bits`: here the lower half has the squared error deviation², and no part in the bits."""
    deviation, ratio = 0.1, 0.3
    data = toys.Data(val=64)
    data.val = toys.Signals(toys.IMAGE, 64, 0, scale=deviation)
    metrics = scored(toys, tmp_path, _half(toys, deviation, ratio), data)
    elements = toys.IMAGE.elements / 2
    step = math.sqrt(12 * INCREASE * (1 + ratio**2))
    bits = elements * (math.log2(2 * math.pi * math.e) / 2 - math.log2(step))
    assert bits - 10 < metrics["real_bits_half"].value < bits + elements * math.log2(1.06)
    assert metrics["real_bits_all"].value == metrics["real_bits"].value
    assert "real_bits_other" not in metrics  # what it reads is not known
    assert metrics["real_bits"].value > 2 * metrics["real_bits_half"].value


def test_nothing_is_encoded_twice(toys: SimpleNamespace, tmp_path: Path) -> None:
    class Counting(toys.Identity):  # type: ignore[misc, name-defined]
        encoded = 0

        def encode(self, signal: Tensor) -> Latents:
            self.encoded += len(signal)
            return super().encode(signal)  # type: ignore[no-any-return]

    tokenizer = Counting(error=0.1)
    assert scored(toys, tmp_path, tokenizer, toys.Data())["rate_bits"].value is not None
    assert tokenizer.encoded == 20


def test_a_sample_is_put_together_from_two_processes() -> None:
    """Signals that another process has seen are read again; latents and errors are those that it left."""
    signals = torch.randn(30, 2, 4, generator=torch.Generator().manual_seed(0))
    index = np.arange(30)

    def latents(x: Tensor) -> Latents:
        return Latents(values=x + 1, scale=x.abs(), rest=(Latents(values=3 * x),))

    one, other = RateSample(30, 7), RateSample(30, 7)
    assert one.indices.tolist() == [0, 4, 8, 12, 17, 21, 25]
    parts = []
    for sample, rows in ((one, index[:13]), (other, index[13:])):
        parts.append(sample.see(rows, signals[rows], latents(signals[rows]), signals[rows] + 0.5))
    rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    read: list[list[int]] = []

    def again(missing: np.ndarray) -> Tensor:
        read.append(missing.tolist())
        return signals[missing]

    batches = other.batches(rows, again, 3)
    assert read == [[0, 4, 8], [12]]
    assert [len(x) for x, _ in batches] == [3, 3, 1]
    for name, tensor in (("values", signals + 1), ("scale", signals.abs())):
        assert torch.equal(torch.cat([getattr(z, name) for _, z in batches]), tensor[one.indices])
    assert torch.equal(torch.cat([x for x, _ in batches]), signals[one.indices])
    assert torch.equal(torch.cat([z.rest[0].values for _, z in batches]), 3 * signals[one.indices])  # type: ignore[list-item]
    assert other.squared_error(rows) == pytest.approx(0.25 * 7 * 8)
