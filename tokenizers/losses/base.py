"""What a loss is to the objective that sums it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..spec import SignalSpec


class Loss:
    """One loss per sample; `config` holds its options. Networks that it reads get no gradient and are not saved."""

    def __init__(self, config: Any, signal: SignalSpec) -> None:
        self.config = config
        self.signal = signal

    def __call__(self, reconstruction: Tensor, signal: Tensor) -> Tensor:
        """`[B, C, *signal]` twice to `[B]`."""
        raise NotImplementedError
