"""What regularisers need to know of a decoder's layers."""

from __future__ import annotations

from torch import nn


def last_layer(module: nn.Module) -> nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """The last linear or convolutional layer in order of registration; None where there is none."""
    found = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    return found[-1] if found else None
