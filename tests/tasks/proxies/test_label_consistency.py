from __future__ import annotations

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute


def test_classes_apart_have_1_and_labels_by_chance_their_share() -> None:
    labels = torch.arange(1000) % 4
    centres = 10 * torch.eye(4)[labels]
    z = torch.randn(1000, 4, 2, 2) + centres[:, :, None, None]
    (apart,) = compute("label_consistency", ProxyInput.of(z, labels=labels))
    assert apart.value == 1
    (chance,) = compute("label_consistency", ProxyInput.of(torch.randn(1000, 4, 2, 2), labels=labels))
    assert chance.value == pytest.approx(0.25, abs=4 * chance.se)


def test_two_overlapping_classes_have_the_share_of_their_posterior() -> None:
    labels = torch.arange(4000) % 2
    z = torch.randn(4000, 1, 1) + 2.0 * labels.view(-1, 1, 1)
    (metric,) = compute("label_consistency", ProxyInput.of(z, labels=labels))
    # E[p² + (1 - p)²] of the posterior p = 1/(1 + exp(2 - 2x)), by Monte Carlo over 10^6 points
    x = torch.randn(1_000_000) + 2.0 * (torch.arange(1_000_000) % 2)
    p = torch.sigmoid(2 * x - 2)
    assert metric.value == pytest.approx(float((p**2 + (1 - p) ** 2).mean()), abs=0.02)


def test_without_labels_there_is_none() -> None:
    assert compute("label_consistency", ProxyInput.of(torch.randn(20, 2, 2))) == ()
