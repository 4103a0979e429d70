"""What a causal layer carries from one piece of a long signal to the next, so that pieces give what the whole gives.

Outside `Carries.carrying` every layer sees a whole signal and pads its past; inside, the first piece alone has a padded
past, and each later one has the end of the piece before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass
class Carry:
    """`value` is what the last piece left behind for the next; None before the first."""

    value: Any = None


class Carrier:
    """A layer whose output depends on earlier positions. `carry` is None where it sees whole signals."""

    carry: Carry | None = None

    @property
    def carried(self) -> Any:
        """What the piece before left behind; None where there was none."""
        return None if self.carry is None else self.carry.value


class Carries:
    """The carries of all layers of some modules: one for each signal that is coded in pieces."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        layers = (layer for module in modules for layer in module.modules())
        self._carries = [(layer, Carry()) for layer in layers if isinstance(layer, Carrier)]

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Inside, the layers go on where the last piece ended."""
        for layer, carry in self._carries:
            layer.carry = carry
        try:
            yield
        finally:
            for layer, _ in self._carries:
                layer.carry = None
