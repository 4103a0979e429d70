"""Order of tokens: decoders that read it and one that does not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from latentbench.tasks.probes.config import PermutationConfig
from latentbench.tasks.probes.permutation import permuted
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec


def tokenizer(toys: SimpleNamespace, *, reads_order: bool) -> Any:
    class Bag(toys.Identity):  # type: ignore[misc,name-defined]
        """Columns of the picture as tokens; decoded sorted, or as they come."""

        @property
        def spec(self) -> LatentSpec:
            return LatentSpec(signal=toys.IMAGE, grids=(LatentGrid(shape=(16,), channels=48, topology="set"),))

        def encode(self, signal: torch.Tensor) -> Latents:
            return Latents(values=signal.flatten(1, 2))

        def decode(self, latents: Latents) -> torch.Tensor:
            values = latents.values if reads_order else latents.values.sort(2).values
            return values.unflatten(1, (3, 16))

    return Bag()


def test_a_decoder_that_sorts_is_invariant(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    (metric,) = measured("permutation", probed(tokenizer(toys, reads_order=False))).values()
    assert (metric.value, metric.n, metric.direction) == (1.0, 20, "higher")


def test_one_that_reads_the_order_is_not(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    (metric,) = measured("permutation", probed(tokenizer(toys, reads_order=True))).values()
    assert metric.value == 0.0


def test_what_lies_beyond_the_length_stays() -> None:
    codes = torch.arange(10).view(1, 1, 10).repeat(2, 1, 1)
    latents = Latents(codes=codes, values=codes.float(), lengths=torch.tensor([4, 10]))
    moved = permuted(latents, torch.rand(2, 10))
    assert moved.codes[0, 0, 4:].tolist() == list(range(4, 10))
    assert sorted(moved.codes[0, 0, :4].tolist()) == [0, 1, 2, 3]
    assert sorted(moved.codes[1, 0].tolist()) == list(range(10))
    assert moved.codes[1, 0].tolist() != list(range(10))
    assert torch.equal(moved.codes.float(), moved.values)
    assert torch.equal(moved.lengths, latents.lengths)


def test_a_grid_is_refused(toys: SimpleNamespace, probed: Any) -> None:
    assert "order is information" in PermutationConfig().build().unsupported_reason(probed(toys.Identity()))
    of_a_set = replace(probed(tokenizer(toys, reads_order=True)), samples=3)
    assert PermutationConfig().build().unsupported_reason(of_a_set) is None
