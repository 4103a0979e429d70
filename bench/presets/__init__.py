"""Presets: a named protocol that pins how data are cut, how many, what they are compared with, and by which metrics.

A preset is a TOML file, one of these or a user's own. A suite names it (`protocol = "imagenet-val-256"`); what the
suite leaves out is then the preset's, and what differs from it is refused. Torch-free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ...results.errors import UserError, unknown
from ...results.record import JobResult
from ...tasks.config import Precision
from ...tasks.statistics_file import StatisticsFile
from ...tokenizers.spec import Modality
from ...tokenizers.validation import check, is_file, parse_toml
from ..datasets.config import DataConfig

_FREE = ("name", "path", "reference", "seed", "samples", "val", "source")  # of a data set: no preset pins them


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a protocol pins.

    `data` are fields of a data set (its `modality` among them), `count` its validation samples, all of which are
    scored. `features` are nets that a suite has at least; `reconstruction` and `generation` are options of these tasks.
    `reference` is what distances compare with: "split", the data's own, or "batch", a file in ADM's form (moments and
    pictures). `rounding` states how signals are rounded before they are compared, `precision` how tokenizers and nets
    compute.
    """

    name: str
    description: str
    count: int
    data: dict[str, Any]
    rounding: Literal["uint8", "none"]
    reference: Literal["split", "batch"] = "split"
    features: tuple[str, ...] = ()
    reconstruction: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError("count must be at least 2 samples")
        known = {item.name for item in fields(DataConfig)}
        for key in self.data:
            if key not in known or key in _FREE:
                raise ValueError(
                    f"data.{key} is no field that a preset pins; it pins {', '.join(sorted(known - {*_FREE}))}"
                )
        sound = Modality(self.data.get("modality", "image")).is_audio
        if (self.rounding == "none") != sound:
            raise ValueError(
                "rounding is 'uint8' for pictures and clips, and 'none' for sounds: nothing else is measured"
            )

    @property
    def modality(self) -> Modality:
        """That of the data."""
        return Modality(self.data.get("modality", "image"))

    @property
    def digest(self) -> str:
        """Eight hex digits of all that it pins."""
        pinned = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "description"}
        if self.precision == "float32":  # digests are older than this option
            del pinned["precision"]
        return hashlib.sha256(json.dumps(pinned, sort_keys=True).encode()).hexdigest()[:8]

    def identity(self) -> dict[str, str]:
        """What a job's key and record have of it."""
        return {"name": self.name, "digest": self.digest}


def preset_names() -> list[str]:
    """Names of the presets that are shipped."""
    return sorted(p.name.removesuffix(".toml") for p in files(__package__).iterdir() if p.name.endswith(".toml"))


def load_preset(name: str, *, where: str = "protocol") -> Preset:
    """A shipped preset by name, or one's own from a TOML file. Raises UserError with `where` the name was read."""
    if name in preset_names():
        place, text = f"{name}.toml", (files(__package__) / f"{name}.toml").read_text()
    elif name.endswith(".toml") or len(Path(name).parts) > 1:
        path = Path(name).expanduser()
        if not is_file(path):
            raise UserError(f"{where}: {path}: no such file of a preset; shipped presets: {', '.join(preset_names())}")
        try:
            place, text = str(path), path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{where}: {path}: can't be read: {error}") from None
    else:
        raise unknown("preset", name, preset_names(), where=where)
    table = parse_toml(text, place)
    preset = check(Preset, {"name": Path(place).stem, **table}, where=place)
    check(DataConfig, {**preset.data, "source": "folder", "path": "."}, where=f"{place}: data")
    return preset


def applied(raw: Mapping[str, Any], preset: Preset, where: str) -> dict[str, Any]:
    """The raw tables of a suite with what the preset pins filled in. Raises UserError for what differs from it."""
    result, tables = dict(raw), raw.get("data")
    if isinstance(tables, list):  # the suite's own check says what is wrong with others
        result["data"] = [_of_data(table, preset, f"{where}: data[{i}]") for i, table in enumerate(tables)]
    chosen = raw.get("features")
    if chosen is None:
        result["features"] = list(preset.features)
    elif isinstance(chosen, list) and (missing := [net for net in preset.features if net not in chosen]):
        raise UserError(f"{where}: features: protocol {preset.name!r} needs {', '.join(missing)} among them")
    tables_pinned = {
        "reconstruction": preset.reconstruction,
        "generation": preset.generation,
        "evaluation": {"precision": preset.precision},
    }
    for task, pinned in tables_pinned.items():
        table = raw.get(task, {})
        if isinstance(table, Mapping) and (pinned or task in raw):
            result[task] = _filled(table, pinned, preset, f"{where}: {task}")
    return result


def check_count(preset: Preset, label: str, validation: int, text: str, where: str) -> None:
    """Raises UserError for data of another number of validation samples than the preset has; `text` tells their
    files."""
    if validation == preset.count:
        return
    cure = "" if validation < preset.count - 1 else "; where nothing is trained on them, data.val = 1.0 takes all files"
    raise UserError(
        f"{where}: protocol {preset.name!r} needs {preset.count:,} validation samples, and {label} has "
        f"{validation:,} ({text}){cure}"
    )


def marked(result: JobResult, preset: Mapping[str, str] | None) -> JobResult:
    """The result with the preset (`Preset.identity`) in each metric's protocol and among its facts: numbers made under
    another one, or under none, are not mixed with it."""
    if preset is None:
        return result
    line = f"protocol {preset['name']} ({preset['digest']})"
    metrics = tuple(replace(metric, protocol=f"{metric.protocol}; {line}") for metric in result.metrics)
    return replace(result, metrics=metrics, extra={**result.extra, "preset": dict(preset)})


def _of_data(table: Any, preset: Preset, where: str) -> Any:
    if not isinstance(table, Mapping):
        return table
    filled = _filled(table, preset.data, preset, where)
    kind = str(table.get("source", "procedural")).partition(":")[0]
    if kind == "procedural":
        raise UserError(f"{where}: protocol {preset.name!r} is for recorded data: give it a source and a path")
    if "val" not in table and kind != "torchvision":  # whose own test split is what is validated on
        filled["val"] = preset.count
    if preset.reference == "batch":
        _check_batch(table.get("reference"), preset, where)
    elif table.get("reference"):
        raise UserError(f"{where}: protocol {preset.name!r} compares with the data's own split: leave reference out")
    return filled


def _check_batch(reference: Any, preset: Preset, where: str) -> None:
    """Raises UserError for a data set without a file in ADM's form."""
    form = "in ADM's form, with moments (mu, sigma) and pictures (arr_0)"
    if not isinstance(reference, str):
        raise UserError(f'{where}: protocol {preset.name!r} needs reference = "FILE.npz", a reference batch {form}')
    file = StatisticsFile.inspect(reference, where=f"{where}.reference")
    if not (file.dim and file.pictures):
        raise UserError(
            f"{where}.reference: protocol {preset.name!r} needs a reference batch {form}: {file.path} is none"
        )


def _filled(table: Mapping[str, Any], pinned: Mapping[str, Any], preset: Preset, where: str) -> dict[str, Any]:
    for key, value in pinned.items():
        if key in table and table[key] != value:
            raise UserError(
                f"{where}: {key}: protocol {preset.name!r} pins {value!r}, got {table[key]!r}; leave out one of the two"
            )
    return {**pinned, **table}
