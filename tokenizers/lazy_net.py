"""Frozen networks that are loaded at their first use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

from .weights import require

Net = TypeVar("Net", bound=nn.Module)


class LazyNet(Generic[Net]):
    """What `build` makes of the file of `weights`, at its first use: a trained tokenizer opens without that file.

    It is no module, which keeps the network out of the tokenizer's parameters, which are counted and saved.
    """

    def __init__(self, weights: str, build: Callable[[Path], Net], *, where: str) -> None:
        """`where` is the option that needs it, for the error message."""
        self.weights, self.build, self.where = weights, build, where
        self._net: Net | None = None

    def on(self, device: torch.device) -> Net:
        """The network on `device`. Raises UserError when the weights are missing."""
        if self._net is None:
            self._net = self.build(require(self.weights, where=self.where))
        return self._net.to(device)
