"""From a suite to its cells: data sets x tokenizers x grid points x seeds. Torch-free and fast."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..results.errors import UserError
from ..tokenizers.config import TokenizerConfig
from ..tokenizers.options import merge
from ..tokenizers.recipe import load_recipe, resolve, resolve_adapter
from ..tokenizers.spec import SignalSpec
from .datasets.config import DataConfig, signal_spec
from .labels import labels, shown_recipe
from .prior_options import Layer, as_table, check_table
from .suite import Suite, TokenizerEntry

_MOST_CELLS = 100_000


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a suite: a tokenizer and its prior on a data set with a seed.

    `axes` are the grid values that made it; `prior` are the tables of prior options that hold for it, the suite's
    first, each with its place; `tasks` are those that it is put to.
    """

    data: DataConfig
    tokenizer: TokenizerConfig
    recipe: str
    label: str
    axes: Mapping[str, Any]
    seed: int
    prior: tuple[Layer, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people read: data set, tokenizer, grid point, seed."""
        return self.name_without(())

    @property
    def tokenizer_name(self) -> str:
        """The same without what concerns the prior alone: cells that differ there share a tokenizer."""
        return self.name_without(self.prior_axes)

    @property
    def prior_axes(self) -> tuple[str, ...]:
        """The axes that concern the prior alone."""
        return tuple(axis for axis in self.axes if is_prior_axis(axis))

    def name_without(self, axes: Container[str]) -> str:
        """The name without these axes, in which cells differ that share a job."""
        point = " ".join(f"{axis}={_brief(value)}" for axis, value in self.axes.items() if axis not in axes)
        return " ".join(part for part in (self.data.label, self.label, point, f"seed={self.seed}") if part)

    def to_json(self) -> dict[str, Any]:
        """The cell's row of facts: axes, shape and nominal rate of its latents."""
        spec = self.tokenizer.spec
        return {
            "cell": self.name,
            "dataset": self.data.label,
            "modality": str(self.data.modality),
            "recipe": self.recipe,
            "label": self.label,
            "axes": dict(self.axes),
            "seed": self.seed,
            "downsample": shown(list(self.tokenizer.downsample)),
            "channels": spec.grid.channels,
            "tsr": spec.tsr,
            "tsr_input": spec.tsr_input,
            "elements": spec.elements,
            "positions": spec.positions,
            "bits_per_sample": spec.bits_per_sample,
            "bits_per_element": spec.bits_per_element,
            "bitrate": spec.bitrate,
            "discrete": spec.discrete,
            "topology": spec.topology,
        }


def cells(suite: Suite) -> tuple[Cell, ...]:
    """All cells of `suite`, data set by data set. Raises UserError for an unknown recipe or an impossible point."""
    result: list[Cell] = []
    names = labels(suite.tokenizers, lambda a, b: _overlap(suite, a, b))
    _check_count(suite)
    for data in suite.data:
        signal = signal_spec(data)
        for entry, label in zip(suite.tokenizers, names, strict=True):
            if not _applies(suite, entry, data):
                continue
            recipe = shown_recipe(entry)
            for axes in _points(entry):
                own = {axis: value for axis, value in axes.items() if not is_prior_axis(axis)}
                place = entry.where
                if axes:
                    place += f" ({', '.join(f'{axis}={_brief(value)}' for axis, value in axes.items())})"
                prior = _prior_layers(suite, entry, axes, place)
                config = _resolved(suite, entry, signal, _nested(own), place)
                if config is None:
                    continue
                shown_axes = {axis: shown(value) for axis, value in axes.items()}
                result += [
                    Cell(
                        data=data,
                        tokenizer=config,
                        recipe=recipe,
                        label=label,
                        axes=shown_axes,
                        seed=seed,
                        prior=prior,
                        tasks=entry.tasks or suite.tasks,
                    )
                    for seed in entry.seeds or suite.data_seeds.get(data.label, suite.seeds)
                ]
    if not result:
        raise UserError(f"{suite.where}: no tokenizer fits any of the data sets (see `modalities` and `data`)")
    return tuple(result)


def _check_count(suite: Suite) -> None:
    """Refuse a suite of more cells than anybody runs, before they are expanded."""
    total = 0
    for entry in suite.tokenizers:
        points = math.prod(len(values) for values in entry.grid.values())
        for data in suite.data:
            if data.label in _data_of(suite, entry):
                seeds = entry.seeds or suite.data_seeds.get(data.label, suite.seeds)
                total += points * len(seeds)
        if total > _MOST_CELLS:
            axes = " x ".join(f"{len(values)} {axis}" for axis, values in entry.grid.items())
            raise UserError(
                f"{entry.where}.grid: more than {_MOST_CELLS} cells ({axes or 'no axes'}, times data sets and seeds)"
            )


def _brief(value: Any) -> str:
    """A grid value in a cell's name: a budget of 2e11 without its zeros."""
    short = f"{value:g}" if isinstance(value, float) else ""
    return short if short and abs(value) >= 1e6 and float(short) == value else str(value)


def shown(value: Any) -> Any:
    """A grid value as one table cell: lists become 2x4x4, a list of equal numbers that number."""
    if isinstance(value, list | tuple):
        return value[0] if len(set(map(str, value))) == 1 else "x".join(str(v) for v in value)
    return value


def is_prior_axis(axis: str) -> bool:
    """True for `prior` and all that begins with `prior.`: axes that leave the tokenizer as it is."""
    return axis.partition(".")[0] == "prior"


def _prior_layers(suite: Suite, entry: TokenizerEntry, axes: Mapping[str, Any], place: str) -> tuple[Layer, ...]:
    """The tables of prior options for one grid point: the suite's, the entry's, the point's own."""
    layers: list[Layer] = [(suite.prior, f"{suite.where}: prior")]
    if entry.prior:
        layers.append((entry.prior, f"{entry.where}.prior"))
    own = {axis: value for axis, value in axes.items() if is_prior_axis(axis)}
    if not own:
        return tuple(layers)
    if "generation" not in (entry.tasks or suite.tasks):
        raise UserError(f"{entry.where}.grid: {next(iter(own))} has no effect without the task generation")
    if "prior" in own and len(own) > 1:
        raise UserError(f"{entry.where}.grid: prior is a list of names; beside other axes write grid.prior.name")
    table = as_table(own["prior"], f"{place}.prior") if "prior" in own else _nested(own)["prior"]
    check_table(table, f"{place}.prior", below=layers)
    return (*layers, (table, f"{place}.prior"))


def _overlap(suite: Suite, a: TokenizerEntry, b: TokenizerEntry) -> bool:
    same_modality = not a.modalities or not b.modalities or bool(set(a.modalities) & set(b.modalities))
    return a is b or (same_modality and bool(_data_of(suite, a) & _data_of(suite, b)))


def _data_of(suite: Suite, entry: TokenizerEntry) -> set[str]:
    """Labels of the data sets that the entry may use."""
    return {*entry.data} or {data.label for data in suite.data} - {*suite.data_on_request}


def _resolved(
    suite: Suite, entry: TokenizerEntry, signal: SignalSpec, own: Mapping[str, Any], place: str
) -> TokenizerConfig | None:
    """The entry's tokenizer at a grid point with the values `own`; None where an adapter is for other modalities."""
    if entry.adapter:
        return resolve_adapter(entry.adapter, signal, merge(entry.options, own), where=place)
    options = merge(merge({"training": dict(suite.training)}, entry.options), own)
    return resolve(entry.recipe, signal, options, where=place)


def _applies(suite: Suite, entry: TokenizerEntry, data: DataConfig) -> bool:
    if data.label not in _data_of(suite, entry):
        return False
    if entry.modalities and data.modality not in entry.modalities:
        return False
    return bool(entry.adapter) or data.modality in load_recipe(entry.recipe, where=f"{entry.where}.recipe").modalities


def _points(entry: TokenizerEntry) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*entry.grid.values()):
        yield dict(zip(entry.grid, values, strict=True))


def _nested(axes: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for axis, value in axes.items():
        node = nested
        *path, last = axis.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return nested
