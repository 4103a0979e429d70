"""Optimisers without torch's compiler: their steps by hand, and that they import none of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.optimisers import LBFGS, Adam, AdamW


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt to import the compiler fails, also where another test has had it imported."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        monkeypatch.delattr(unwrap(getattr(torch.optim.Optimizer, name)), "__dynamo_disable", raising=False)


def by_hand(w: Tensor, gradients: list[Tensor], lr: float, decay: float) -> Tensor:
    """Kingma & Ba, algorithm 1, with the decoupled decay of Loshchilov & Hutter, algorithm 2."""
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - lr * decay * w
        w = w - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return w


@pytest.mark.parametrize(
    ("build", "decay"),
    [
        (lambda params: Adam(params, lr=0.1), 0.0),
        (lambda params: AdamW(params, lr=0.1, weight_decay=0.3), 0.3),
        (lambda params: AdamW(params, lr=0.1, weight_decay=0.3, fused=True), 0.3),
    ],
)
def test_steps_are_the_papers_and_go_on_from_a_state(build: Callable[[list[Tensor]], Any], decay: float) -> None:
    start = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    gradients = [torch.tensor(row, dtype=torch.float64) for row in ([1, 2, 3], [-1, 0, 5], [0.5, 0.5, -4])]
    weights = start.clone().requires_grad_()
    optimiser = build([weights])
    for number, gradient in enumerate(gradients):
        if number == 2:
            state, optimiser = optimiser.state_dict(), build([weights])
            optimiser.load_state_dict(state)
        weights.grad = gradient.clone()
        optimiser.step()
        optimiser.zero_grad()
        assert weights.grad is None
    torch.testing.assert_close(weights.detach(), by_hand(start, gradients, 0.1, decay), rtol=1e-7, atol=1e-9)
    assert weights.requires_grad


def test_l_bfgs_solves_a_quadratic() -> None:
    matrix, target = torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([1.0, -1.0])
    weights = torch.zeros(2, requires_grad=True)
    optimiser = LBFGS([weights], line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = 0.5 * weights @ matrix @ weights - target @ weights
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(weights.detach(), torch.linalg.solve(matrix, target), rtol=1e-4, atol=1e-4)
