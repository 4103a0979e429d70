"""Blocks whose inner activations are computed again for their gradients instead of being kept.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Context = Callable[[], AbstractContextManager[Any]]

_context: Context | None = None


@contextmanager
def recomputing(enabled: bool = True, *, context: Context = nullcontext) -> Iterator[None]:
    """Inside, a block that is called in training keeps its inputs alone; it is computed again within `context()`."""
    global _context
    previous, _context = _context, context if enabled else None
    try:
        yield
    finally:
        _context = previous


class RecomputedBlock(nn.Module):
    """A block that can be computed again: a function of its inputs, its parameters and the random generator alone."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, and within `recomputing` without keeping what it computes inside."""
        if _context is None or not (self.training and torch.is_grad_enabled()):
            return super().__call__(*args, **kwargs)
        again = _context
        contexts = lambda: (nullcontext(), again())  # noqa: E731
        return checkpoint(super().__call__, *args, use_reentrant=False, context_fn=contexts, **kwargs)
