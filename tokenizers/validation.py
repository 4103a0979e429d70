"""The border: plain data (parsed TOML, JSON) checked into frozen dataclasses, with precise errors."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..results.errors import UserError, nearest

T = TypeVar("T")

LARGEST = 1 << 53  # beyond it, a float no longer tells whole numbers apart
_DEEPEST = 50


def check(cls: type[T], data: Mapping[str, Any], *, where: str) -> T:
    """`data` as an instance of the dataclass `cls`, types strict (no "1e-4" for a float, no 1.0 for an int, no NaN).

    Raises UserError with the key's dotted path under `where` ("suite.toml: tokenizers[0]"), what is wrong with it, and
    the nearest known key for a misspelt one.
    """
    _plain(data, where, depth=0)
    payload = _BYTE.sub(_stand_in, text := json.dumps(dict(data)))
    try:
        checked: T = _adapter(cls).validate_json(payload, strict=True)  # type: ignore[arg-type]
    except ValidationError as error:
        raise UserError(_explain(cls, error, where)) from None
    if payload is not text:
        _restore(checked)
    return checked


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The table in `text`. Raises UserError, also for numbers and nesting that Python's own parser gives up on."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:  # numbers of thousands of digits too
        reason = "a number has too many digits" if "integer string conversion" in str(error) else str(error)
    raise UserError(f"{where}: not valid TOML: {reason}")


def is_file(path: Path) -> bool:
    """Whether there is a file; False also for a name that no file can have (too long, with a NUL)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_whole(value: int, where: str) -> None:
    """Refuse a whole number that no number of samples, steps or channels could be. Raises UserError."""
    if abs(value) > LARGEST:
        raise UserError(f"{where}: whole numbers lie between -2^53 and 2^53, and this one has {_digits(value)} digits")


def _digits(value: int) -> int:
    return int(value.bit_length() * math.log10(2)) + 1


def _plain(value: Any, where: str, depth: int) -> None:
    """Refuse what is no plain data, with its key, before anything works with it."""
    if depth > _DEEPEST:
        raise UserError(f"{where}: nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise UserError(f"{where}: keys are text, got {key!r}")
            _plain(item, where if depth > 8 else f"{where}: {key}" if depth == 0 else f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _plain(item, where if depth > 8 else f"{where}[{i}]", depth + 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        check_whole(value, where)
    elif value is not None and not isinstance(value, bool | float | str):
        kinds = "numbers, strings, booleans, lists and tables"
        raise UserError(f"{where}: only {kinds} are allowed, got a {type(value).__name__}")


# Python has the bytes of a path that is no UTF-8 as lone surrogates, which JSON's readers refuse: private characters
# stand in for them while data are checked.
_BYTE = re.compile(r"(?<!\\)((?:\\\\)*)\\udc([89a-f][0-9a-f])")
_PRIVATE = 0x10FF00


def _stand_in(match: re.Match[str]) -> str:
    return match[1] + json.dumps(chr(_PRIVATE + int(match[2], 16)))[1:-1]


def _restore(value: Any) -> Any:
    """`value` with the bytes of paths again; dataclasses are changed in place."""
    if type(value) is str:
        back = {_PRIVATE + byte: 0xDC00 + byte for byte in range(0x80, 0x100)}
        return value.translate(back)
    if isinstance(value, Mapping):
        return {_restore(key): _restore(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_restore, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            object.__setattr__(value, field.name, _restore(getattr(value, field.name)))
    return value


def check_distinct(values: Sequence[Any], where: str) -> None:
    """Refuse a repeated value: the same cell, or measurement, would count twice. Raises UserError."""
    seen: set[Any] = set()
    for value in values:
        key = value if isinstance(value, int | float | str) else repr(value)
        if key in seen:
            raise UserError(f"{where}: {value!r} is given twice")
        seen.add(key)


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    _forbid_unknown_keys(cls)
    return TypeAdapter(cls)


def _forbid_unknown_keys(kind: Any) -> None:
    for argument in get_args(kind):
        _forbid_unknown_keys(argument)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and "__pydantic_config__" not in vars(kind):
        kind.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # type: ignore[attr-defined]
        for hint in get_type_hints(kind).values():
            _forbid_unknown_keys(hint)


_CHOICES = ("int", "float", "str", "bool")  # what pydantic adds to the path of a field of several types


def _explain(cls: type, error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False)[0]
    path = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    if len(path) > 1 and path[-1] in _CHOICES:
        path.pop()
    dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
    place = f"{where}: {dotted}" if dotted else where
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = [field.name for field in dataclasses.fields(_owner(cls, path[:-1]))]
        near = nearest(str(path[-1]), known)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(sorted(known))}"
        return f"{place}: unknown key; {hint}"
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{place}: missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: {message}"
    got = json.dumps(first.get("input"), default=str)
    return f"{place}: {message[0].lower() + message[1:]}, got {got if len(got) <= 60 else got[:57] + '...'}"


def _owner(cls: Any, path: list[str | int]) -> Any:
    """The dataclass that holds the field at `path` below `cls`."""
    for part in path:
        if isinstance(part, str):
            cls = _dataclass_in(get_type_hints(cls)[part])
    return cls


def _dataclass_in(kind: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return kind
    return next((inner for inner in map(_dataclass_in, get_args(kind)) if inner is not None), None)
