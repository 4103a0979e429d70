"""The last layer of a network: whose weights a gradient is measured at, or that starts at zero."""

from __future__ import annotations

from torch import nn


def last_layer(module: nn.Module) -> nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | None:
    """The last linear or convolutional layer in order of registration; None where there is none."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    return layers[-1] if layers else None


def zero_last_layer(module: nn.Module) -> None:
    """Sets the weights and biases of `last_layer` to zero, if there is one."""
    layer = last_layer(module)
    for parameter in layer.parameters() if layer is not None else ():
        nn.init.zeros_(parameter)
