"""A batch that several processes share: what these ranks tell each other within a step of training.

Rank r of N computes the rows [r B / N, (r + 1) B / N) of a batch of B, and the loss of all is the mean over the ranks'
own. What is no mean over samples takes its statistics over the whole batch by `averaged` or `gathered`, whose gradients
are those of the mean over the ranks. Without a process group, and inside `alone`, there is one rank: nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Tensors are sent together, about so many bytes at a time.
_BUCKET_BYTES = 2**25

_is_alone = False


def count() -> int:
    """How many ranks share a batch."""
    grouped = not _is_alone and dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if grouped else 1


def number() -> int:
    """Which of them this process is: 0 for the first, or the only one."""
    return dist.get_rank() if count() > 1 else 0


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process computes a whole batch by itself."""
    global _is_alone
    previous, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = previous


def averaged(x: Tensor) -> Tensor:
    """The mean of the ranks' `x`, with its gradient."""
    if count() == 1:
        return x
    mean: Tensor = _Averaged.apply(x)
    return mean


def gathered(x: Tensor, dim: int = 0) -> Tensor:
    """The ranks' `x` one after the other along `dim`, in which the samples lie: that of the whole batch, with its
    gradient."""
    if count() == 1:
        return x
    whole: Tensor = _Gathered.apply(x, dim)
    return whole


def own_part(rows: slice, n: int) -> tuple[slice, float]:
    """Those of this rank's `n` samples that are among `rows` (from start to stop) of the batch, and what their mean
    weighs: the mean over the ranks of weight x mean is then the mean over `rows`. Without a sample it weighs 0."""
    first, stop = number() * n, (number() + 1) * n
    start, end = max(rows.start, first), min(rows.stop, stop)
    if end <= start:
        return slice(0, 0), 0.0
    return slice(start - first, end - first), count() * (end - start) / (rows.stop - rows.start)


@torch.no_grad()
def average_(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over the ranks; all are on one device, and alike on all ranks."""
    ranks = count()
    if ranks == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        dist.all_reduce(flat)
        _scatter(flat.div_(ranks), bucket)


@torch.no_grad()
def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by rank 0's."""
    if count() == 1:
        return
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        dist.broadcast(flat, 0)
        _scatter(flat, bucket)


def told(value: Any) -> Any:
    """Rank 0's `value`, a small one."""
    if count() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors, as many of one type at a time as fill a bucket."""
    waiting: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        bucket = waiting.setdefault(tensor.dtype, [])
        bucket.append(tensor)
        if sum(item.nbytes for item in bucket) >= _BUCKET_BYTES:
            yield waiting.pop(tensor.dtype)
    yield from waiting.values()


def _scatter(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


class _Averaged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Tensor:
        return _mean(outer[0])


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
        ctx.dim, ctx.length = dim, x.shape[dim]
        parts = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(count())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        total = outer[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(ctx.dim, number() * ctx.length, ctx.length), None


def _mean(x: Tensor) -> Tensor:
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / count()
