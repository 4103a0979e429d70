"""One registry for what has a name: parts, priors, metrics, proxies, probes, nets, data sources, engines.

An entry is a class, or names one as "module:attribute" relative to the `latentbench` namespace (an absolute path for
third parties) that is imported only when it is asked for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..results.errors import UserError, unknown

_ROOT = __name__.split(".", maxsplit=1)[0]


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
        self._entries: dict[str, Any] = {}
        self._plugins_seen = False
        for name, target in (entries or {}).items():
            self.add(name, target)

    def add(self, name: str, target: Any) -> None:
        """Register `target` (an object, or "package.module:attribute").

        Raises UserError on a collision, and for an object that is not of the registry's `base`.
        """
        if not isinstance(target, str):
            self._check(name, target)
        if name in self._entries and self._entries[name] != target:
            raise UserError(f"{self.kind} {name!r} is registered twice: {self._entries[name]} and {target}")
        self._entries[name] = target

    def names(self) -> list[str]:
        """All known names, sorted, those of installed third parties included."""
        self._see_plugins()
        return sorted(self._entries)

    def get(self, name: str, *, where: str = "") -> Any:
        """The object called `name`; `where` says where the name was read.

        Raises UserError naming the nearest known name, or for an object that is not of the registry's `base`.
        """
        self._see_plugins()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries, where=where)
        target = self._entries[name]
        if isinstance(target, str):
            module, _, attribute = target.partition(":")
            target = getattr(import_module(_absolute(module)), attribute)
            self._check(name, target)
            self._entries[name] = target
        return target

    def version(self, name: str, *, where: str = "") -> int:
        """The `version` of the object called `name`, read from its source where it is not imported yet.

        So a plan can put versions into job keys without importing torch. Raises UserError for an unknown name.
        """
        self._see_plugins()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries, where=where)
        target = self._entries[name]
        declared = declared_version(target) if isinstance(target, str) else None
        return declared if declared is not None else int(self.get(name).version)

    def summary(self, name: str) -> str:
        """The first line of the docstring of the object called `name`, likewise without importing it."""
        self._see_plugins()
        target = self._entries.get(name)
        text = declared_docstring(target) if isinstance(target, str) else None
        return ((text if text is not None else self.get(name).__doc__) or "").strip().split("\n")[0]

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

    def _see_plugins(self) -> None:
        if not self._plugins_seen:
            self._plugins_seen = True
            for point in entry_points(group=self.group):
                self.add(point.name, point.value)


_OURS = {"bench", "tokenizers", "tasks", "results"}


def _absolute(module: str) -> str:
    return f"{_ROOT}.{module}" if module.split(".")[0] in _OURS else module


@cache
def declared_version(target: str) -> int | None:
    """The number that "module:Class" declares as `version`, or "module:VERSION" as a constant, without importing it.

    None where the source does not say so literally.
    """
    module, _, attribute = target.partition(":")
    tree = _source(module)
    wanted = attribute
    for node in ast.iter_child_nodes(tree) if tree is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            tree, wanted = node, "version"
    for node in ast.iter_child_nodes(tree) if tree is not None else ():
        names = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(n, ast.Name) and n.id == wanted for n in names):
            value = getattr(node, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, int):
                return value.value
    return None


@cache
def declared_docstring(target: str) -> str | None:
    """The docstring of the class or function "module:name" without importing it, None where its source is not there."""
    module, _, attribute = target.partition(":")
    tree = _source(module)
    for node in ast.iter_child_nodes(tree) if tree is not None else ():
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
            return ast.get_docstring(node)
    return None


def _source(module: str) -> ast.AST | None:
    spec = find_spec(_absolute(module))
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
