"""What all parts of a tokenizer have in common: a kind, a version, and plain data in and out. No torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, TypeVar

from ..results.errors import UserError
from .registry import Registry
from .validation import check

P = TypeVar("P", bound="Part")
_ROOT = __name__.split(".", maxsplit=1)[0]


class Part:
    """A frozen keyword-only dataclass that says how one part of a tokenizer is built. Importing it needs no torch.

    `kind` is the part's name in suite files and in its registry; `version` goes up whenever the same configuration
    gives other numbers than before (it is hashed into job keys). `identity_defaults` names options that came after the
    part did: at their default they change nothing and stay out of its plain data, and so out of job keys.
    `batch_coupled` says why its training needs a whole batch at a time, None where its loss is a mean over samples;
    with `over_ranks` several devices can share that batch, as what couples it is computed over all of them (`ranks`).
    `builds` is the target of `build`: "module:Class" beside the configuration's own module, or the class itself.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    identity_defaults: ClassVar[frozenset[str]] = frozenset()
    batch_coupled: ClassVar[str | None] = None
    over_ranks: ClassVar[bool] = False
    builds: ClassVar[str | type]

    def batch_coupling(self) -> str | None:
        """`batch_coupled`, unless that depends on the options."""
        return self.batch_coupled

    def rank_coupling(self) -> str | None:
        """Why several devices can't share its batches, or None."""
        return None if self.over_ranks else self.batch_coupling()

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """What this configures: the target, constructed with the configuration first. Imports torch."""
        return self._resolve("builds")(self, *args, **kwargs)

    def preload(self) -> None:
        """Import the target, if it is one of ours: what others' modules do when they are imported is not known."""
        if type(self).__module__.startswith(f"{_ROOT}.") and any("builds" in vars(cls) for cls in type(self).__mro__):
            self._resolve("builds")

    def _resolve(self, attribute: str) -> Any:
        """What the class attribute `attribute` names, in the package of the class that sets it."""
        owner = next((cls for cls in type(self).__mro__ if attribute in vars(cls)), None)
        if owner is None:
            raise NotImplementedError(f"{type(self).__name__} has no `{attribute}`, the module that it configures")
        return resolve_target(vars(owner)[attribute], beside=owner.__module__)


def resolve_target(target: Any, *, beside: str) -> Any:
    """The object that "module:attribute" names in the package of the module `beside`; other objects as they are."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    return getattr(import_module(f".{module}", beside.rpartition(".")[0]), attribute)


def read_part(base: type[P], registry: Registry, table: Any, *, where: str) -> P:
    """The part that `table` (`{"kind": name, **options}`) describes, strictly checked.

    Raises UserError with a dotted path under `where` for an unknown kind, an unknown option or a wrong type.
    """
    if not isinstance(table, Mapping):
        raise UserError(f"{where}: expected a table, got {table!r}")
    kind = table.get("kind")
    if not isinstance(kind, str):
        missing = "missing" if kind is None else f"expected a name, got {kind!r}"
        raise UserError(f"{where}.kind: {missing}; known: {', '.join(registry.names())}")
    options = {key: value for key, value in table.items() if key != "kind"}
    part = check(registry.get(kind, where=f"{where}.kind"), options, where=where)
    if not isinstance(part, base):
        raise UserError(f"{where}.kind: {kind!r} is a {type(part).__name__}, which is no {base.__name__}")
    return part


def plain(part: Any) -> dict[str, Any]:
    """A dataclass as plain JSON data (lists for tuples) without `identity_defaults`; a part's `kind` comes first."""
    data: dict[str, Any] = json.loads(json.dumps(_data(part)))
    return {"kind": part.kind, **data} if isinstance(part, Part) else data


def _data(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        hidden: frozenset[str] = getattr(value, "identity_defaults", frozenset())
        items = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: _data(item) for f, item in items if f.name not in hidden or item != f.default}
    if isinstance(value, Mapping):
        return {key: _data(item) for key, item in value.items()}
    return [_data(item) for item in value] if isinstance(value, list | tuple) else value
