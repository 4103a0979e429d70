"""One registry for what has a name: parts, priors, metrics, proxies, probes, nets, data sources, engines.

An entry is a class, or names one as "module:attribute" relative to the `latentbench` namespace (an absolute path for
third parties) that is imported only when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..results.errors import UserError, unknown
from .validation import check_distinct

_ROOT = __name__.split(".", maxsplit=1)[0]


@cache
def _entry_points(path: tuple[str, ...]) -> Any:
    """Those of all packages on the path: a look at each takes longer than all registries together need them."""
    return entry_points()


class Registry:
    """Named things of one kind, loaded when first used.

    `kind` is the word used in messages ("bottleneck"); `group` the entry-point group that third parties publish to
    (`latentbench.bottlenecks`); `base` the class whose subclasses (or instances) are registered, None for no check. A
    name registered twice is an error, and an unknown name suggests its neighbour.
    """

    def __init__(
        self, kind: str, group: str, entries: dict[str, str] | None = None, *, base: type | None = None
    ) -> None:
        self.kind = kind
        self.group = group
        self.base = base
        self._entries: dict[str, Any] = dict(entries or {})
        self._added_by: dict[str, str] = {}
        self._packages: dict[str, str] = {}  # installed ones, by the names that their entry points publish
        self._plugins_seen = False

    def add(self, name: str, target: Any) -> None:
        """Register `target` (an object, or "package.module:attribute") in this process.

        Raises UserError on a collision, and for an object that is not of the registry's `base`.
        """
        if not isinstance(target, str):
            self._check(name, target)
        if name in self._entries and self._entries[name] != target:
            raise UserError(f"{self.kind} {name!r} is registered twice: {self._entries[name]} and {target}")
        self._entries[name] = target
        self._added_by[name] = sys._getframe(1).f_globals.get("__name__", "")

    def added_by(self, name: str) -> str | None:
        """The module that called `add` for `name`; None for ours and for an installed package's entry points."""
        return self._added_by.get(name)

    def names(self) -> list[str]:
        """All known names, sorted, those of installed third parties included."""
        self._see_plugins()
        return sorted(self._entries)

    def get(self, name: str, *, where: str = "") -> Any:
        """The object called `name`; `where` says where the name was read.

        Raises UserError naming the nearest known name, or for an object that is not of the registry's `base`.
        """
        target = self._look_up(name, where)
        if isinstance(target, str):
            target = self._load(name, target, where)
            self._check(name, target)
            self._entries[name] = target
        return target

    def version(self, name: str, *, where: str = "") -> int:
        """The `version` of the object called `name`, as job keys hold it. Raises UserError for an unknown name."""
        return int(self.get(name, where=where).version)

    def check_names(self, names: Sequence[str], *, where: str) -> None:
        """Refuse a choice of several that has an unknown name, or one twice. Raises UserError with its place."""
        check_distinct(names, where)
        for i, name in enumerate(names):
            self.get(name, where=f"{where}[{i}]")

    def summary(self, name: str) -> str:
        """The first line of its docstring; of an installed package's object that can't be imported, the reason."""
        try:
            return (self.get(name).__doc__ or "").strip().split("\n")[0]
        except UserError as error:
            return str(error)

    def __contains__(self, name: str) -> bool:
        self._see_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _check(self, name: str, target: Any) -> None:
        if self.base is None or isinstance(target, self.base):
            return
        if not (isinstance(target, type) and issubclass(target, self.base)):
            what = target.__name__ if isinstance(target, type) else repr(target)
            raise UserError(f"{self.kind} {name!r}: {what} is no {self.base.__name__}; register a subclass of that")

    def _look_up(self, name: str, where: str) -> Any:
        self._see_plugins()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries, where=where)
        recorded = _lookups.get()
        if recorded is not None:
            recorded.add((self, name))
        return self._entries[name]

    def _load(self, name: str, target: str, where: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            return getattr(import_module(_absolute(module)), attribute)
        except Exception as error:
            if name not in self._packages:
                raise
            cause = " ".join(f"{type(error).__name__}: {error}".split())
            prefix = f"{where}: " if where else ""
            package = self._packages[name]
            message = f"{prefix}{self.kind} {name!r} of the installed package {package} can't be imported: {cause}"
            raise UserError(message) from error

    def _see_plugins(self) -> None:
        if self._plugins_seen:
            return
        for point in _entry_points(tuple(sys.path)).select(group=self.group):
            package = point.dist.name if point.dist is not None else "?"
            if self._entries.setdefault(point.name, point.value) != point.value:
                raise UserError(f"{self.kind} {point.name!r} of the installed package {package}: the name is taken")
            self._packages[point.name] = package
        self._plugins_seen = True


_lookups: ContextVar[set[tuple[Registry, str]] | None] = ContextVar("lookups", default=None)


@contextmanager
def recorded_lookups() -> Iterator[set[tuple[Registry, str]]]:
    """Inside, every name that is looked up in a registry is put into the set."""
    recorded: set[tuple[Registry, str]] = set()
    token = _lookups.set(recorded)
    try:
        yield recorded
    finally:
        _lookups.reset(token)


_OURS = {"bench", "tokenizers", "tasks", "results"}


def _absolute(module: str) -> str:
    return f"{_ROOT}.{module}" if module.split(".")[0] in _OURS else module
