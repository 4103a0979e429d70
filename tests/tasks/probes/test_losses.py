"""Objective terms as scores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch


def test_terms_of_a_constant_error(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    data = toys.Data()
    data.val.data = data.val.data.clamp(-0.5, 0.5)
    metrics = measured("losses", probed(toys.Identity(error=0.05), data))
    assert set(metrics) == {"loss_l1", "loss_l2", "loss_huber", "loss_logit_laplace"}
    assert metrics["loss_l1"].value == pytest.approx(0.05, rel=1e-5)
    assert metrics["loss_l2"].value == pytest.approx(0.0025, rel=1e-5)
    assert metrics["loss_huber"].value == pytest.approx(0.0025 / 2, rel=1e-5)
    assert metrics["loss_l1"].direction == "lower"


def test_wavelets_are_for_video(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    video = toys.VIDEO.__class__(**{**vars(toys.VIDEO), "shape": (4, 16, 16)})
    metrics = measured("losses", probed(toys.Identity(video)))
    assert metrics["loss_dwt"].value == pytest.approx(0, abs=1e-6)
    assert "loss_stft" not in metrics


def test_what_is_decoded_is_clamped(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    data = toys.Data()
    data.val.data = torch.ones_like(data.val.data)
    assert measured("losses", probed(toys.Identity(error=3.0), data))["loss_l1"].value == 0
