from __future__ import annotations

import math

import pytest
import torch

from latentbench.tasks.proxies.interface import ProxyInput, compute


def test_classes_apart_tell_all_of_their_labels_and_noise_nothing() -> None:
    labels = torch.arange(1000) % 4
    z = torch.randn(1000, 4, 2, 2) + 10 * torch.eye(4)[labels][:, :, None, None]
    (apart,) = compute("label_information", ProxyInput.of(z, labels=labels + 7))
    assert apart.value == pytest.approx(2, abs=0.02)
    assert apart.unit == "bit"
    (blind,) = compute("label_information", ProxyInput.of(torch.randn(1000, 4, 4, 4), labels=labels))
    assert blind.value == pytest.approx(0, abs=0.03)


def test_two_normal_classes_have_the_information_of_their_posterior() -> None:
    labels = torch.arange(20_000) % 5 // 3  # 3 : 2, in a period of the parts' number
    z = torch.randn(20_000, 1, 1) + 2.0 * labels.view(-1, 1, 1)
    (metric,) = compute("label_information", ProxyInput.of(z, labels=labels))
    # log2 p(y | x)/p(y) by Monte Carlo over 10^6 points: the posterior is a logistic function of x
    y = (torch.rand(1_000_000) < 0.4).double()
    x = torch.randn(1_000_000).double() + 2 * y
    log_q = -torch.nn.functional.softplus((1 - 2 * y) * (2 * x - 2 + math.log(0.4 / 0.6)))
    entropy = -(0.4 * math.log2(0.4) + 0.6 * math.log2(0.6))
    assert metric.value == pytest.approx(entropy + float(log_q.mean()) / math.log(2), abs=4 * metric.se)
    assert metric.se < 0.025


def test_a_linear_reader_sees_no_parity() -> None:
    z = torch.randn(2000, 2, 1)
    labels = ((z[:, 0, 0] > 0) ^ (z[:, 1, 0] > 0)).long()
    (metric,) = compute("label_information", ProxyInput.of(z, labels=labels))
    assert metric.value == pytest.approx(0, abs=0.02)


def test_without_labels_there_is_none_and_one_class_has_no_value() -> None:
    assert compute("label_information", ProxyInput.of(torch.randn(80, 2, 2))) == ()
    one = ProxyInput.of(torch.randn(80, 2, 2), labels=torch.zeros(80, dtype=torch.int64))
    assert compute("label_information", one)[0].value is None
