"""The record of one job: its schema, canonical bytes, and strict reading.

Everything outside `run` is the same, byte for byte, however often the job was interrupted before it finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from .metric import Direction, Metric, Role, Shown

SCHEMA = 1

Status = Literal["finished", "failed"]

# The jobs of a cell in the order in which they depend on each other.
KINDS = (
    "data",
    "encoder",
    "reference",
    "tokenizer",
    "latents",
    "reconstruction",
    "prior",
    "generation",
    "modelability",
    "probes",
)

# `{2: update_to_2, ...}`: version N's function takes the JSON of schema N - 1 to that of N. Schema 1 is the first.
UPDATES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class InvalidRecord(ValueError):
    """The bytes are no valid record; `str(error)` is the reason, in one line."""


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


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one job.

    `config` is the resolved configuration that was hashed into `key`, `depends` the jobs it read ("tokenizer/<key>"),
    `extra` further plain data that is deterministic (parameters, FLOPs, curves), `artifacts` the size in bytes of each
    file that the job left in its folder, `error` the cause of a failure. `run` alone may differ between two runs of
    the same job: seconds, peak memory, device, threads, attempt, versions, host.
    """

    kind: str
    key: str
    status: Status
    config: Mapping[str, Any] = field(default_factory=dict)
    depends: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, int] = field(default_factory=dict)
    error: Failure | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

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
            "error": None if error is None else {"type": error.type, "message": error.message, "where": error.where},
            "run": plain(self.run),
        }

    def to_bytes(self) -> bytes:
        """The record's file: canonical JSON. Raises InvalidRecord for a record that could not be read back."""
        data = self.to_json()
        _validate(data)
        return canonical(data)

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
            metrics=tuple(Metric.from_json(metric) for metric in data["metrics"]),
            extra=data["extra"],
            artifacts=data["artifacts"],
            error=None if error is None else Failure(**error),
            run=data["run"],
        )

    @classmethod
    def from_bytes(cls, content: bytes, *, kind: str | None = None, key: str | None = None) -> Record:
        """The inverse of `to_bytes`. Raises InvalidRecord; content cut short at any byte is invalid."""
        return cls.from_json(parse(content), kind=kind, key=key)


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


def canonical(data: Any) -> bytes:
    """JSON that is equal for equal data: sorted keys, two spaces, floats by repr, a newline at the end."""
    text = json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def parse(content: bytes) -> Any:
    """The inverse of `canonical`. Raises InvalidRecord; the newline at the end shows that nothing was cut off."""
    if not content.endswith(b"\n"):
        raise InvalidRecord("cut short" if content else "empty")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(f"not JSON, or cut short ({error})") from None


def _updated(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidRecord("not a JSON object")
    schema = data.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise InvalidRecord(f"schema {schema!r} is no version number")
    if schema > SCHEMA:
        raise InvalidRecord(f"schema {schema} is newer than this version reads (up to {SCHEMA})")
    for version in range(schema + 1, SCHEMA + 1):
        data = {**UPDATES[version](data), "schema": version}
    return data


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "key": str,
    "status": str,
    "config": dict,
    "depends": list,
    "metrics": list,
    "extra": dict,
    "artifacts": dict,
    "error": (dict, type(None)),
    "run": dict,
}
_METRIC_FIELDS = {item.name for item in fields(Metric)}


def _validate(data: dict[str, Any]) -> dict[str, Any]:
    _names("the record", data, {"schema", *_FIELDS})
    for name, kind in _FIELDS.items():
        if not isinstance(data[name], kind):
            raise InvalidRecord(f"{name} is a {type(data[name]).__name__}")
    if not data["kind"] or not data["key"]:
        raise InvalidRecord("kind or key is empty")
    if data["status"] not in get_args(Status):
        raise InvalidRecord(f"status {data['status']!r} is none of {', '.join(get_args(Status))}")
    if (data["status"] == "failed") != (data["error"] is not None):
        raise InvalidRecord(f"status {data['status']!r} with {'an' if data['error'] else 'no'} error")
    if data["error"] is not None:
        _names("error", data["error"], {"type", "message", "where"})
        if not all(isinstance(text, str) for text in data["error"].values()):
            raise InvalidRecord("error holds something that is no text")
    if not all(isinstance(job, str) for job in data["depends"]):
        raise InvalidRecord("depends holds something that is no job")
    for name, size in data["artifacts"].items():
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts:
            raise InvalidRecord(f"artifact {name!r} lies outside the job's folder")
        if not _is_int(size) or size < 0:
            raise InvalidRecord(f"artifact {name!r} has the size {size!r}")
    names = [_valid_metric(metric) for metric in data["metrics"]]
    if len(set(names)) != len(names):
        raise InvalidRecord(f"metric {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return data


def _valid_metric(metric: Any) -> str:
    if not isinstance(metric, dict):
        raise InvalidRecord("metrics holds something that is no metric")
    _names("a metric", {"role": "", "shown": "default"} | metric, _METRIC_FIELDS)
    name, interval = metric["name"], metric["interval"]
    if not isinstance(name, str) or not name:
        raise InvalidRecord(f"metric name {name!r}")
    numbers = [metric["value"], metric["se"]]
    if interval is not None:
        if not isinstance(interval, list) or len(interval) != 2:
            raise InvalidRecord(f"metric {name!r}: interval {interval!r} is no pair")
        numbers += interval
    if not all(x is None or _is_int(x) or (isinstance(x, float) and math.isfinite(x)) for x in numbers):
        raise InvalidRecord(f"metric {name!r} holds something that is no number")
    if not all(_is_int(metric[count]) and metric[count] >= 0 for count in ("n", "missing")):
        raise InvalidRecord(f"metric {name!r}: n and missing are counts")
    if metric["direction"] not in get_args(Direction):
        raise InvalidRecord(f"metric {name!r}: direction {metric['direction']!r}")
    if not isinstance(metric["unit"], str) or not isinstance(metric["protocol"], str):
        raise InvalidRecord(f"metric {name!r}: unit and protocol are text")
    if metric.get("role", "") not in get_args(Role) or metric.get("shown", "default") not in get_args(Shown):
        raise InvalidRecord(f"metric {name!r}: role {metric.get('role')!r}, shown {metric.get('shown')!r}")
    return name


def _names(what: str, data: dict[str, Any], expected: set[str]) -> None:
    if missing := sorted(expected - data.keys()):
        raise InvalidRecord(f"{what} lacks {', '.join(missing)}")
    if strange := sorted(data.keys() - expected):
        raise InvalidRecord(f"{what} has an unknown field {strange[0]!r}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
