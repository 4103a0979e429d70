"""The metrics of a record and of a row, of which each is made when it is asked for: a large store has half a million.

Records and rows that measure the same share what says so; of their own they have numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from .metric import Metric

NUMBERS = 4  # of a metric: value, standard error, and the ends of its interval

Heads = Mapping[str, tuple[int, Metric]]


class Measured(Sequence[Metric]):
    """A record's metrics in their order. `heads` are metrics whose numbers don't count, `numbers` are those of all, one
    metric's after the other's."""

    __slots__ = ("heads", "numbers")

    def __init__(self, heads: Sequence[Metric], numbers: Sequence[Any]) -> None:
        self.heads, self.numbers = heads, numbers

    @classmethod
    def of(cls, metrics: Sequence[Metric]) -> Measured:
        """The same metrics."""
        return metrics if isinstance(metrics, Measured) else cls(metrics, numbers_of(metrics))

    @overload
    def __getitem__(self, place: int) -> Metric: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Metric, ...]: ...
    def __getitem__(self, place: int | slice) -> Metric | tuple[Metric, ...]:
        if isinstance(place, slice):
            return tuple(self)[place]
        return _metric(self.heads[place], self.numbers, place % len(self.heads) * NUMBERS)

    def __len__(self) -> int:
        return len(self.heads)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Measured | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class Metrics(Mapping[str, Metric]):
    """A row's metrics by name. `heads` {name: (where its numbers begin, a metric whose own numbers don't count)} is one
    object for all rows that measure the same, `numbers` are as `Measured` has them."""

    __slots__ = ("heads", "numbers")

    def __init__(self, heads: Heads, numbers: Sequence[Any]) -> None:
        self.heads, self.numbers = heads, numbers

    @classmethod
    def of(cls, metrics: Mapping[str, Metric]) -> Metrics:
        """The same metrics."""
        if isinstance(metrics, Metrics):
            return metrics
        heads = {name: (place * NUMBERS, metric) for place, (name, metric) in enumerate(metrics.items())}
        return cls(heads, numbers_of(metrics.values()))

    def value(self, name: str) -> Any:
        """The value of one that is there."""
        return self.numbers[self.heads[name][0]]

    def numbers_of(self, name: str) -> Sequence[Any]:
        """Those of one that is there."""
        at = self.heads[name][0]
        return self.numbers[at : at + NUMBERS]

    def __getitem__(self, name: str) -> Metric:
        at, head = self.heads[name]
        return _metric(head, self.numbers, at)

    def __contains__(self, name: object) -> bool:
        return name in self.heads

    def __iter__(self) -> Iterator[str]:
        return iter(self.heads)

    def __len__(self) -> int:
        return len(self.heads)


def numbers_of(metrics: Iterable[Metric]) -> list[Any]:
    """Of each its value, standard error, and the ends of its interval."""
    return [n for metric in metrics for n in (metric.value, metric.se, *(metric.interval or (None, None)))]


def _metric(head: Metric, numbers: Sequence[Any], at: int) -> Metric:
    value, se, low, high = numbers[at : at + NUMBERS]
    metric = object.__new__(Metric)  # as `Metric.of_checked`
    metric.__dict__.update(head.__dict__, value=value, se=se, interval=None if low is None else (low, high))
    return metric
