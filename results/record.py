"""The record of one job: its schema, canonical bytes, and strict reading.

Everything outside `run` is the same, byte for byte, however often the job was interrupted before it finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from .canonical import pretty
from .digest import UNSEALED, has_seal, is_sealed, seal
from .metric import Metric
from .record_file import CANCELLED, SCHEMA

LARGEST = 1e300  # numbers beyond it overflow in sums of squares
# Bytes with what numbers are made of as 0, save both signs of an exponent as e and + as it is; what may stand before a
# number as blanks; and others as x.
_SHAPES = bytes(
    48 if c in "0123456789." else 101 if c in "eE" else 43 if c == "+" else 32 if c in " \t\n\r,:[-" else 120
    for c in map(chr, range(256))
)
_LARGE = (b"e+000", b"0" * 190)  # one of them, or e000 behind 0s and a blank, is in any number that large


Status = Literal["finished", "failed"]


def _update_to_2(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 knew its artifacts by size alone."""
    return {"digests": {}, **data}


# Version N's function takes the JSON of schema N - 1 to that of N. Schema 1 is the first.
UPDATES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {2: _update_to_2}

_FIRST = 1  # the only schema whose records carry no digest of themselves


class InvalidRecord(ValueError):
    """The bytes are no valid record; `str(error)` is the reason, in one line."""


class NewerRecord(InvalidRecord):
    """The bytes are a record of a newer schema than this version reads: nothing is wrong with it, and it is kept."""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job gives to its record: metrics, plain deterministic facts (curves, per-channel statistics), the names of
    artifact files in its folder, and in `run` what may differ between two runs of the same job (seconds)."""

    metrics: tuple[Metric, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a job failed: the exception's type and message, and where it was raised (`file:line`, or a stage)."""

    type: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        return " ".join(f"{self.type}: {self.message}".split())


def _inside(name: str) -> str:
    """An artifact's name: a relative path that stays in its folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError("no file inside the job's folder can have this name")
    return name


def _plausible(metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
    names = set()
    for metric in metrics:
        if not metric.name or metric.name in names:
            raise ValueError(f"metric {metric.name!r} appears twice" if metric.name else "a metric has no name")
        if metric.n < 0 or metric.missing < 0:
            raise ValueError(f"metric {metric.name!r} has a negative count")
        if metric.interval is not None and metric.interval[0] > metric.interval[1]:
            raise ValueError(f"metric {metric.name!r} has an interval that ends before it begins")
        names.add(metric.name)
    return metrics


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one job.

    `config` is the resolved configuration that was hashed into `key`, `depends` the jobs it read ("tokenizer/<key>"),
    `extra` further plain data that is deterministic (parameters, FLOPs, curves), `artifacts` the size in bytes of each
    file that the job left in its folder, `digests` their SHA-256 (none in a record of schema 1), `error` the cause of a
    failure. `run` alone may differ between two runs of
    the same job: seconds, peak memory, device, threads, attempt, versions, host.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    kind: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    key: Annotated[str, Field(pattern=r"^[^/\x00]+$")]
    status: Status
    config: Mapping[str, Any] = field(default_factory=dict)
    depends: tuple[str, ...] = ()
    metrics: Annotated[tuple[Metric, ...], AfterValidator(_plausible)] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[Annotated[str, AfterValidator(_inside)], Annotated[int, Field(ge=0)]] = field(
        default_factory=dict
    )
    digests: Mapping[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = field(default_factory=dict)
    error: Failure | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data with the schema's number; non-finite floats become None, tuples lists."""
        error = self.error
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "key": self.key,
            "status": self.status,
            "config": plain(self.config),
            "depends": list(self.depends),
            "metrics": [metric.to_json() for metric in self.metrics],
            "extra": plain(self.extra),
            "artifacts": dict(self.artifacts),
            "digests": dict(self.digests),
            "error": None if error is None else {item.name: _utf8(getattr(error, item.name)) for item in fields(error)},
            "run": plain(self.run),
        }

    def to_bytes(self) -> bytes:
        """The record's file: canonical JSON with its digest. Raises InvalidRecord for one that can't be read back."""
        data = self.to_json()
        content = seal(pretty({**data, "run": {**data["run"], "sha256": UNSEALED}}))
        self.from_bytes(content)
        return content

    @classmethod
    def from_json(cls, data: Any, *, kind: str | None = None, key: str | None = None) -> Record:
        """The record in `data`, brought up from an older schema. Raises InvalidRecord.

        With `kind` and `key` given, a record of another job is invalid too.
        """
        data = _validate(_updated(data))
        if (kind or data["kind"], key or data["key"]) != (data["kind"], data["key"]):
            raise InvalidRecord(f"is the record of {data['kind']}/{data['key']}, not of {kind}/{key}")
        error = data["error"]
        return cls(
            kind=data["kind"],
            key=data["key"],
            status=data["status"],
            config=data["config"],
            depends=tuple(data["depends"]),
            metrics=tuple(_metric(metric) for metric in data["metrics"]),
            extra=data["extra"],
            artifacts=data["artifacts"],
            digests=data["digests"],
            error=None if error is None else Failure(**error),
            run=data["run"],
        )

    @classmethod
    def from_bytes(cls, content: bytes, *, kind: str | None = None, key: str | None = None) -> Record:
        """The inverse of `to_bytes`. Raises InvalidRecord, also for bytes that differ in one bit or are cut short."""
        data = parse(content)
        if _is_newer(data) and not has_seal(content):
            raise _newer(data)  # of a form that nobody knows yet
        if isinstance(data, dict) and data.get("schema") != _FIRST and isinstance(data.get("run"), dict):
            if not is_sealed(content):
                raise InvalidRecord("its digest (run.sha256) is another: damaged, or changed by hand")
            del data["run"]["sha256"]
        return cls.from_json(data, kind=kind, key=key)


def is_cancelled(record: Record) -> bool:
    """Whether the job was left out by hand: `latentbench cancel`."""
    return record.error is not None and record.error.type == CANCELLED


def plain(value: Any) -> Any:
    """`value` as JSON holds it: mappings to dicts with string keys, sequences to lists, non-finite floats to None.

    Raises TypeError on anything else (tensors, paths, dataclasses), which would not read back as itself.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"a record's keys are strings, got {name!r}")
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"a record holds plain data, got a {type(value).__name__}")


def parse(content: bytes) -> Any:
    """The inverse of `canonical.pretty`; the newline at the end shows that nothing was cut off.

    Raises InvalidRecord for anything else, NaN, infinity and numbers beyond 1e300 included.
    """
    if not content.endswith(b"\n"):
        raise InvalidRecord("cut short" if content else "empty")
    with suppress(ValueError):  # a name of another encoding, a deep table; or no JSON: what follows says why
        data = from_json(content, allow_inf_nan=False)
        if not _may_have_large(content):
            return data
    try:
        return json.loads(
            content.decode("utf-8"), parse_constant=_no_number, parse_float=_bounded_float, parse_int=_bounded_int
        )
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(f"not JSON, or cut short ({error})") from None


def _may_have_large(content: bytes) -> bool:
    """Whether a number of the JSON may be beyond 1e300, however it is written, or a text look like one."""
    shapes = content.translate(_SHAPES)
    at = shapes.find(b"e000")
    while at >= 0:
        if shapes[max(at - 190, 0) : at].rstrip(b"0")[-1:] in b" ":
            return True
        at = shapes.find(b"e000", at + 1)  # it was of a digest, as there are many
    return any(shape in shapes for shape in _LARGE)


def explain(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line that begins with the key's path: `metrics[0].n: ...`."""
    first = error.errors(include_url=False)[0]
    parts = (part if isinstance(part, int) else " ".join(part.split()) for part in first["loc"] if part != "[key]")
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{path}: unknown key"
    if first["type"].startswith("missing"):
        return f"{path}: missing"
    if first["type"] == "value_error":  # raised by a check of ours
        return f"{path}: {first['msg'].removeprefix('Value error, ')}"
    message, text = first["msg"], repr(first["input"])
    return f"{path}: {message[0].lower()}{message[1:]}, got {text if len(text) <= 60 else text[:57] + '...'}"


def _updated(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidRecord("not a JSON object")
    schema = data.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise InvalidRecord(f"schema {schema!r} is no version number")
    if _is_newer(data):
        raise _newer(data)
    for version in range(schema + 1, SCHEMA + 1):
        data = {**UPDATES[version](data), "schema": version}
    return data


def _is_newer(data: Any) -> bool:
    schema = data.get("schema") if isinstance(data, dict) else None
    return isinstance(schema, int) and schema > SCHEMA


def _newer(data: Any) -> NewerRecord:
    return NewerRecord(f"schema {data['schema']} is newer than this version reads (up to {SCHEMA})")


def _validate(data: dict[str, Any]) -> dict[str, Any]:
    """`data` itself, when it has every field of a record and each is valid. Raises InvalidRecord."""
    if missing := [name for name in _names() if name not in data]:
        raise InvalidRecord(f"the record lacks {', '.join(missing)}")
    # Free tables were checked by `parse`, and may hold what UTF-8 can't: file names of other encodings.
    free = [name for name in ("config", "extra", "run") if isinstance(data[name], dict)]
    typed = {name: {} if name in free else value for name, value in data.items() if name != "schema"}
    try:
        # As JSON, whose lists are tuples in strict mode too. Numbers are then taken from `data`: 1 stays 1, not 1.0.
        _adapter().validate_json(_json(typed))
    except ValidationError as error:
        raise InvalidRecord(explain(error)) from None
    except UnicodeEncodeError as error:
        raise InvalidRecord(f"{error.object[max(0, error.start - 20) : error.end]!r} is no text") from None
    if (data["status"] == "failed") != (data["error"] is not None):
        raise InvalidRecord(f"status {data['status']!r} with {'an' if data['error'] else 'no'} error")
    return data


def _json(data: dict[str, Any]) -> bytes:
    try:
        return to_json(data, inf_nan_mode="constants")
    except (ValueError, TypeError):
        return json.dumps(data, ensure_ascii=False).encode()


@cache
def _names() -> tuple[str, ...]:
    return tuple(item.name for item in fields(Record))


@cache
def _adapter() -> TypeAdapter[Record]:
    return TypeAdapter(Record)  # built when first needed: it takes longer than importing this module


def _metric(data: dict[str, Any]) -> Metric:
    interval = data.get("interval")
    return Metric.of_checked({**data, "interval": None if interval is None else (interval[0], interval[1])})


def _utf8(text: str) -> str:
    """A message may quote a file name of another encoding."""
    return text.encode("utf-8", "backslashreplace").decode()


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _bounded_float(text: str) -> float:
    value = float(text)
    return value if abs(value) < LARGEST else _no_number(f"{text:.20}")


def _bounded_int(text: str) -> int:
    return int(text) if len(text) < 300 else _no_number(f"{text:.20}...")
