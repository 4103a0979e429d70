"""Suite files: what is to be run, read from TOML and checked to the last key. Torch-free.

A suite is data sets x tokenizers x grid axes x seeds x tasks. See docs/suites.md for the format.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, time
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..results.claims import Claim
from ..results.errors import UserError, unknown
from ..tasks.config import EvaluationConfig
from ..tasks.nets.config import PRETRAINED, SCATTERING
from ..tokenizers.adapters.config import adapter_options
from ..tokenizers.options import OPTIONS, RENAMED
from ..tokenizers.spec import Modality
from ..tokenizers.training import TrainingConfig
from ..tokenizers.validation import check, check_distinct, is_file, parse_toml
from .claim_metrics import check_metrics
from .datasets import sources
from .datasets.config import DataConfig
from .kinds import check_task, kinds
from .kinds import tasks as all_tasks
from .presets import Preset, applied, load_preset
from .prior_options import Layer, as_table, check_table


@dataclass(frozen=True, kw_only=True)
class TokenizerEntry:
    """One `[[tokenizers]]` table: a recipe or an adapter, its overrides, and the grid of values that some of them take.

    Of `recipe` and `adapter` one is "".
    `grid` maps a dotted option ("tsr", "bottleneck.beta", "prior.name") to its values; `modalities` and `data` restrict
    the entry to some data sets; `options` are overrides common to all its cells; `prior` is laid over the suite's;
    `seeds` and `tasks` stand for the suite's where they are given; `where` is the place in the file, for messages.
    """

    recipe: str
    label: str
    grid: Mapping[str, tuple[Any, ...]]
    modalities: tuple[Modality, ...]
    data: tuple[str, ...]
    options: Mapping[str, Any]
    where: str
    prior: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()
    adapter: str = ""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A checked suite. `options` are those of the kinds of job, by kind; `training` and `prior` lie below the tables of
    recipes and priors; `features` names the nets of Fréchet and kernel distances, the leading one first;
    `data_seeds` has the seeds of the data sets, by label, for which they differ from `seeds`; those `data_on_request`
    are used only by the entries that name them; `protocol` is the preset that it keeps to, `evaluation` how tokenizers
    and nets compute; `claims` are judged by `latentbench list systems` on what was run."""

    name: str
    where: str
    description: str
    seeds: tuple[int, ...]
    data_seeds: Mapping[str, tuple[int, ...]]
    data_on_request: tuple[str, ...]
    tasks: tuple[str, ...]
    features: tuple[str, ...]
    data: tuple[DataConfig, ...]
    tokenizers: tuple[TokenizerEntry, ...]
    training: Mapping[str, Any]
    prior: Mapping[str, Any]
    options: Mapping[str, Any]
    claims: tuple[Claim, ...] = ()
    protocol: Preset | None = None
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True, kw_only=True)
class _Top:
    name: str
    tokenizers: list[dict[str, Any]]
    data: list[dict[str, Any]]
    description: str = ""
    seeds: tuple[int, ...] = (0,)
    data_seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    data_on_request: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None
    features: tuple[str, ...] = (PRETRAINED, SCATTERING)
    training: dict[str, Any] = field(default_factory=dict)
    prior: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)
    protocol: str | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)


def suite_names() -> list[str]:
    """Names of the suites that are shipped."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def load_suite(suite: str | Path | Mapping[str, Any], sets: Sequence[str] = ()) -> Suite:
    """A shipped suite by name, a file, or a mapping of the same shape, with `--set a.b=value` changes applied.

    Raises UserError with file, key and cure for anything wrong.
    """
    if isinstance(suite, Mapping):
        where, raw = "suite", _copy(suite)
    else:
        where, raw = _read(suite)
    _listed(raw)
    for change in sets:
        apply_set(raw, change)
    _listed(raw)
    name = raw.get("protocol")
    preset = load_preset(name, where=f"{where}: protocol") if isinstance(name, str) else None
    return _parse(raw if preset is None else applied(raw, preset, where), where, preset)


def check_claims(tables: Sequence[Mapping[str, Any]], where: str) -> tuple[Claim, ...]:
    """The `[[claims]]` of a suite, or of its file in a run's folder. They enter no job's key. Raises UserError."""
    claims = tuple(check(Claim, table, where=f"{where}: claims[{i}]") for i, table in enumerate(tables))
    check_distinct([claim.id for claim in claims], f"{where}: claims")
    return claims


def _shipped() -> Any:
    return files(__package__) / "suites"


def _read(suite: str | Path) -> tuple[str, dict[str, Any]]:
    path = Path(suite)
    if path.suffix == ".toml" or len(path.parts) > 1:
        if not is_file(path):
            raise UserError(f"{path}: no such suite file; shipped suites: {', '.join(suite_names())}")
        where, text = str(path), _read_text(path)
    elif str(suite) in suite_names():
        where, text = f"{suite}.toml", (_shipped() / f"{suite}.toml").read_text()
    else:
        raise unknown("suite", str(suite), suite_names())
    return where, parse_toml(text, where)


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list | tuple) else value


def apply_set(raw: dict[str, Any], change: str) -> None:
    """Apply one `--set a.b=value` to a table. Raises UserError."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {change}: expected KEY=VALUE, such as --set data.path=photos")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise UserError(f"--set {key}: nested too deeply") from None
    except tomllib.TOMLDecodeError:
        value = text  # a bare word or path needs no quotes on the command line
    except ValueError:
        raise UserError(f"--set {key}: a number has too many digits") from None
    if isinstance(value, date | time):
        value = text  # a folder may be called 2024-01-01
    parts = key.strip().split(".")
    if len(parts) > _DEEPEST:
        raise UserError(f"--set {change}: a key has at most {_DEEPEST} parts")
    _assign(raw, parts, value, change)


_DEEPEST = 20


def _assign(node: Any, parts: list[str], value: Any, change: str) -> None:
    """Set `parts` below `node`; a list is entered at a numeric part, or in all its tables."""
    head, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if head.isdecimal():
            if len(head) > 9 or int(head) >= len(node):
                raise UserError(f"--set {change}: there are only {len(node)} entries, counted from 0")
            if rest:
                _assign(node[int(head)], rest, value, change)
            else:
                node[int(head)] = value
            return
        for item in node:
            _assign(item, parts, value, change)
        return
    if not isinstance(node, dict):
        raise UserError(f"--set {change}: {head!r} lies below something that is no table")
    if rest:
        _assign(node.setdefault(head, {}), rest, value, change)
    else:
        node[head] = value


def _listed(raw: dict[str, Any]) -> None:
    """A single table is a list of one."""
    for key in ("data", "tokenizers"):
        if isinstance(raw.get(key), dict):
            raw[key] = [raw[key]]


def _parse(raw: dict[str, Any], where: str, preset: Preset | None) -> Suite:
    own = [item.name for item in fields(_Top)]
    with_options = [kind for kind in kinds() if kind.options is not None]
    _known(raw, [*own, *(kind.name for kind in with_options)], where)
    top = check(_Top, {key: value for key, value in raw.items() if key in own}, where=where)
    tasks = all_tasks(by_default=True) if top.tasks is None else top.tasks
    _check_name(top.name, f"{where}: name")
    check_distinct(tasks, f"{where}: tasks")
    for i, task in enumerate(tasks):
        check_task(task, where=f"{where}: tasks[{i}]")
    for key in ("data", "tokenizers", "seeds"):
        if not getattr(top, key):
            raise UserError(f"{where}: {key}: needs at least one entry")
    for i, seed in enumerate(top.seeds):
        _check_seed(seed, f"{where}: seeds[{i}]")
    data = tuple(check(DataConfig, table, where=f"{where}: data[{i}]") for i, table in enumerate(top.data))
    for i, config in enumerate(data):
        sources.version(config.kind, where=f"{where}: data[{i}].source")
    check_distinct(top.seeds, f"{where}: seeds")
    check(TrainingConfig, top.training, where=f"{where}: training")
    labels = [d.label for d in data]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            raise UserError(f"{where}: data[{i}]: a data set called {label!r} is there already; give one a `name`")
    for i, label in enumerate(top.data_on_request):
        if label not in labels:
            raise unknown("data set", label, labels, where=f"{where}: data_on_request[{i}]")
    check_distinct(top.data_on_request, f"{where}: data_on_request")
    for label, seeds in top.data_seeds.items():
        if label not in labels:
            raise unknown("data set", label, labels, where=f"{where}: data_seeds")
        if not seeds:
            raise UserError(f"{where}: data_seeds.{label}: needs at least one seed")
        check_distinct(seeds, f"{where}: data_seeds.{label}")
        for seed in seeds:
            _check_seed(seed, f"{where}: data_seeds.{label}")
    below = (top.prior, f"{where}: prior")
    check_table(*below)
    entries = tuple(
        _entry(table, f"{where}: tokenizers[{i}]", labels, tasks, below) for i, table in enumerate(top.tokenizers)
    )
    options = {kind.name: kind.read(_table(raw, kind.name, where), f"{where}: {kind.name}") for kind in with_options}
    claims = check_claims(top.claims, where)
    axes = {axis.replace(".", "_") for entry in entries for axis in entry.grid}
    axes |= {f"axis_{axis}" for axis in axes}  # where a column of cells is called so already
    check_metrics(claims, modalities={config.modality for config in data}, axes=axes, where=where)
    return Suite(
        name=top.name,
        where=where,
        description=top.description,
        seeds=top.seeds,
        data_seeds=top.data_seeds,
        data_on_request=top.data_on_request,
        tasks=tasks,
        features=top.features,
        data=data,
        tokenizers=entries,
        training=top.training,
        prior=top.prior,
        options=options,
        claims=claims,
        protocol=preset,
        evaluation=check(EvaluationConfig, top.evaluation, where=f"{where}: evaluation"),
    )


def _check_name(name: str, where: str) -> None:
    """A suite's name is a folder's below `runs/`, and stands in tables and filters."""
    if not name or any(c in name for c in "/\\\0"):
        raise UserError(f"{where}: must be usable as a file name, got {name!r}")
    if len(name.encode()) > _LONGEST_NAME:
        raise UserError(f"{where}: has at most {_LONGEST_NAME} bytes, got {len(name.encode())}")
    if name.startswith(".") or name.strip() != name or not name.isprintable():
        raise UserError(f"{where}: starts with no dot, has no blank at its ends and no control character, got {name!r}")


_LONGEST_NAME = 80  # percent-encoded, with its extension, it is a file's


def _check_seed(seed: int, where: str) -> None:
    if seed < 0:
        raise UserError(f"{where}: a seed is not negative, got {seed}")


def _known(table: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    """Refuse a misspelt key before the right one is missed."""
    for key in table:
        if key not in names:
            raise unknown("key", key, names, where=where)


def _table(raw: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    table = raw.get(key, {})
    if not isinstance(table, Mapping):
        raise UserError(f"{where}: {key}: expected a table, got {table!r}")
    return table


@dataclass(frozen=True, kw_only=True)
class _EntryHead:
    recipe: str = ""
    adapter: str = ""
    label: str = ""
    modalities: tuple[Modality, ...] = ()
    data: tuple[str, ...] = ()
    prior: Any = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()


def _entry(
    table: Mapping[str, Any], where: str, data_labels: list[str], tasks: Sequence[str], suite_prior: Layer
) -> TokenizerEntry:
    own = [item.name for item in fields(_EntryHead)]
    adapter = table.get("adapter")
    options = OPTIONS if not isinstance(adapter, str) else adapter_options(adapter, f"{where}.adapter")
    # A renamed table passes here: the resolution of options says its new name.
    renamed = RENAMED if not adapter else {}
    _known({key: value for key, value in table.items() if key not in renamed}, [*own, *options], where)
    head = check(_EntryHead, {k: v for k, v in table.items() if k in own}, where=where)
    if bool(head.recipe) == bool(head.adapter):
        raise UserError(f"{where}.recipe: missing" if not head.recipe else f"{where}: a recipe or an adapter, not both")
    for i, name in enumerate(head.data):
        if name not in data_labels:
            raise unknown("data set", name, data_labels, where=f"{where}: data[{i}]")
    for i, task in enumerate(head.tasks):
        if task not in tasks:
            raise unknown("task of the suite", task, tasks, where=f"{where}: tasks[{i}]")
    check_distinct(head.seeds, f"{where}: seeds")
    for i, seed in enumerate(head.seeds):
        _check_seed(seed, f"{where}: seeds[{i}]")
    grid = dict(_axes(head.grid, f"{where}: grid"))
    prior = as_table(head.prior, f"{where}.prior")
    check_table(prior, f"{where}.prior", below=[suite_prior])
    return TokenizerEntry(
        recipe=head.recipe,
        adapter=head.adapter,
        label=head.label,
        grid=grid,
        modalities=head.modalities,
        data=head.data,
        options={k: v for k, v in table.items() if k not in own},
        where=where,
        prior=prior,
        seeds=head.seeds,
        tasks=head.tasks,
    )


def _axes(table: Mapping[str, Any], where: str, prefix: str = "") -> list[tuple[str, tuple[Any, ...]]]:
    axes: list[tuple[str, tuple[Any, ...]]] = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            axes += _axes(value, where, f"{name}.")
        elif isinstance(value, list) and value:
            check_distinct(value, f"{where}.{name}")
            axes.append((name, tuple(value)))
        else:
            raise UserError(f"{where}.{name}: an axis is a non-empty list of values, got {value!r}")
    return axes
