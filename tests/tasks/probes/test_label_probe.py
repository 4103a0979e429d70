"""The linear reader, against least squares on an augmented system and on latents that name their class."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from latentbench.tasks.probes.config import LabelProbeConfig
from latentbench.tasks.probes.label_probe import RIDGE, predict, ridge


@pytest.mark.parametrize(("samples", "size"), [(60, 7), (20, 50)])
def test_weights_are_those_of_the_augmented_least_squares(samples: int, size: int) -> None:
    x, labels = 3 * torch.randn(samples, size) + 1, torch.arange(samples) % 3
    weights, mean, std = ridge(x, labels, 3)
    z = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
    y = F.one_hot(labels, 3).double()
    rows = np.concatenate([z.numpy(), np.sqrt(RIDGE * samples) * np.eye(size)])
    targets = np.concatenate([(y - y.mean(0)).numpy(), np.zeros((size, 3))])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0]
    assert np.allclose(weights[:-1].numpy(), expected, atol=1e-8)
    assert torch.allclose(weights[-1], y.mean(0))
    guessed = predict(x, weights, mean, std)
    assert torch.equal(guessed, (z @ torch.from_numpy(expected) + y.mean(0)).argmax(1))


def test_a_constant_element_says_nothing() -> None:
    x, labels = torch.randn(30, 4), torch.arange(30) % 2
    constant = torch.cat([x, torch.full((30, 1), 7.0)], 1)
    first, second = ridge(x, labels, 2)[0], ridge(constant, labels, 2)[0]
    assert torch.allclose(first[:4], second[:4])
    assert second[4].tolist() == [0, 0]


def test_it_reads_labels_that_are_there(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    data = toys.Data(train=2000, val=200)
    blind = measured("label_probe", probed(toys.Identity(), data))
    assert blind["label_accuracy"].value < 0.45  # chance is 0.25
    assert blind["label_chance"].value == pytest.approx(0.25)
    for split in (data.train, data.val):
        split.data[:, 0, 0, 0] = torch.from_numpy(split.labels).float() == 2
        split.data[:, 1, 0, 0] = torch.from_numpy(split.labels).float() == 1
        split.data[:, 2, 0, 0] = torch.from_numpy(split.labels).float() == 3
    told = measured("label_probe", probed(toys.Identity(), data))
    assert told["label_accuracy"].value > 0.9
    assert told["label_accuracy"].n == 200


def test_data_without_labels_are_refused(toys: SimpleNamespace, probed: Any) -> None:
    data = toys.Data()
    data.classes = ()
    assert "labels" in LabelProbeConfig().build().unsupported_reason(probed(toys.Identity(), data))
