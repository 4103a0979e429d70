"""Training times, time features, and a block that reads them."""

from __future__ import annotations

import math

import pytest
import torch

from latentbench.tokenizers.backbones.time import TimeBlock, TimeEmbedding, logit_normal_times, time_features


def test_times_have_distinct_features() -> None:
    features = time_features(torch.linspace(0, 1, 101), 64)
    assert features.shape == (101, 64)
    assert (torch.cdist(features, features) + torch.eye(101)).min() > 0.1
    expected = [math.cos(500.0), math.cos(5.0), math.sin(500.0), math.sin(5.0)]
    assert time_features(torch.tensor([0.5]), 4)[0].tolist() == pytest.approx(expected, abs=1e-4)


def test_times_are_logit_normal_and_stratified() -> None:
    t = logit_normal_times(4000, 0.5, 2.0, torch.device("cpu"))
    logit = torch.logit(t)
    assert logit.mean().item() == pytest.approx(0.5, abs=0.02)
    assert logit.std().item() == pytest.approx(2.0, abs=0.03)
    few = torch.special.ndtr(torch.logit(logit_normal_times(8, 0.0, 1.0, torch.device("cpu"))))
    assert (few * 8).floor().tolist() == list(range(8))


def test_a_condition_joins_the_time_before_the_last_non_linearity() -> None:
    embed, t, condition = TimeEmbedding(6, features=8), torch.rand(3), torch.randn(3, 6)
    before = embed.second(torch.nn.functional.silu(embed.first(time_features(t, 8))))
    torch.testing.assert_close(embed(t, condition), torch.nn.functional.silu(before + condition))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_block_starts_as_the_identity_and_then_reads_the_time(rank: int) -> None:
    x, times = torch.randn(2, 8, *(4,) * rank), torch.randn(2, 5)
    block = TimeBlock(8, 8, rank, groups=4, embedding=5)
    torch.testing.assert_close(block(x, times), x)
    torch.nn.init.normal_(block.conv2.weight)
    assert not torch.allclose(block(x, times), block(x, -times))
    wider = TimeBlock(8, 12, rank, groups=4, embedding=5)
    torch.testing.assert_close(wider(x, times), wider.skip(x))
