"""Float32 in the middle of a step under autocast, and the step's own precision again inside it.

Objectives, likelihoods and codes must not depend on autocast; large networks that are called among them (a
discriminator, a diffusion decoder's) may use it, as the tokenizer's own do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_autocast: ContextVar[bool] = ContextVar("whether the step is under autocast", default=False)


@contextmanager
def float32_inside(device: torch.device) -> Iterator[None]:
    """No autocast inside, unless `step_precision` says so."""
    token = _autocast.set(torch.is_autocast_enabled(device.type))
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        _autocast.reset(token)


def step_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the step around `float32_inside` has it; elsewhere none."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=_autocast.get())
