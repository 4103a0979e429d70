"""A step's batch in parts: what is drawn for a part are the rows that a pass over the whole batch would have drawn.

So the mean of the parts' gradients is the whole batch's to rounding. What couples the samples of a batch in another way
(statistics over it) can't be done so, and says so in its configuration's `batch_coupled`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_OF_SIZES = {_aten.rand.default, _aten.randn.default}
_OF_INTEGERS = {_aten.randint.default: 1, _aten.randint.low: 2}  # where their sizes stand
_LIKE = {_aten.rand_like.default, _aten.randn_like.default, _aten.randint_like.default}
_IN_PLACE = {_aten.normal_.default, _aten.uniform_.default, _aten.bernoulli_.float, _aten.exponential_.default}

# The part that is computed now, of how many: what numbers the rows of a batch has to know.
_current = (0, 1)


def rows(n: int) -> tuple[int, int]:
    """The number of the first of these `n` rows in the whole batch, and how many rows that has."""
    number, parts = _current
    return number * n, parts * n


def divided(batch: Any, size: int) -> list[Any]:
    """Parts of `size` samples each: `batch` is a tensor `[B, ...]`, or a tuple, mapping or dataclass of such."""
    if isinstance(batch, Tensor):
        return list(batch.split(size))
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        table = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.init}
        return [dataclasses.replace(batch, **part) for part in divided(table, size)]
    if isinstance(batch, Mapping):
        parts = {name: divided(value, size) for name, value in batch.items()}
        return [dict(zip(parts, row, strict=True)) for row in _rows(list(parts.values()))]
    if isinstance(batch, tuple | list):
        return [type(batch)(row) for row in _rows([divided(value, size) for value in batch])]
    return [batch]  # the same in every part


def _rows(columns: list[list[Any]]) -> list[tuple[Any, ...]]:
    """The columns' rows; what has one entry alone is the same in every row."""
    count = max((len(column) for column in columns), default=1)
    return list(zip(*(column if len(column) == count else column * count for column in columns), strict=True)) or [()]


class MicroBatch(TorchDispatchMode):
    """Inside, part `number` of `parts` equal ones of a batch is computed; `size` is the samples in it.

    Seed the generator alike before each part. Random tensors whose first axis is a multiple of `size` count as rows of
    the batch, other ones (a number that is drawn for all samples) are the same in each part.
    """

    def __init__(self, number: int, parts: int, size: int) -> None:
        super().__init__()
        self.number, self.parts, self.size = number, parts, size
        self._stack = ExitStack()

    def __enter__(self) -> MicroBatch:
        global _current
        previous, _current = _current, (self.number, self.parts)
        self._stack.callback(_restore, previous)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._stack.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        place = 0 if func in _OF_SIZES else _OF_INTEGERS.get(func)
        if place is not None and self._is_batch(args[place]):
            first, *rest = args[place]
            whole = func(*args[:place], [first * self.parts, *rest], *args[place + 1 :], **kwargs)
            return self._own(whole, first)
        if func in _LIKE and self._is_batch(args[0].shape):
            return self._own(func(self._whole(args[0]), *args[1:], **kwargs), len(args[0]))
        if func in _IN_PLACE and self._is_batch(args[0].shape):
            whole = func(self._whole(args[0]), *args[1:], **kwargs)
            return args[0].copy_(self._own(whole, len(args[0])))
        if func is _aten.native_dropout.default and self._is_batch(args[0].shape):
            signal, p, training = args
            if training and 0 < p < 1:
                _, whole = func(self._whole(signal), p, training)
                kept = self._own(whole, len(signal))
                return signal * kept / (1 - p), kept
        return func(*args, **kwargs)

    def _is_batch(self, shape: Any) -> bool:
        return len(shape) > 0 and shape[0] > 0 and shape[0] % self.size == 0

    def _whole(self, part: Tensor) -> Tensor:
        """An uninitialised tensor like `part` for the whole batch, in the same order of axes in memory."""
        shape = (self.parts * len(part), *part.shape[1:])
        order = sorted(range(part.dim()), key=part.stride, reverse=True)
        whole = torch.empty([shape[axis] for axis in order], dtype=part.dtype, device=part.device)
        return whole.permute([order.index(axis) for axis in range(part.dim())])

    def _own(self, whole: Tensor, count: int) -> Tensor:
        return whole[self.number * count : (self.number + 1) * count].clone()


def _restore(previous: tuple[int, int]) -> None:
    global _current
    _current = previous
