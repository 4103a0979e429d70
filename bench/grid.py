"""From a suite to its cells: data sets x tokenizers x grid points x seeds. Torch-free and fast."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..results.errors import UserError
from ..tokenizers.config import TokenizerConfig
from ..tokenizers.recipe import load_recipe, resolve
from .datasets.config import DataConfig, signal_spec
from .suite import Suite, TokenizerEntry


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a suite: a tokenizer on a data set with a seed. `axes` are the grid values that made it."""

    data: DataConfig
    tokenizer: TokenizerConfig
    recipe: str
    label: str
    axes: Mapping[str, Any]
    seed: int

    @property
    def name(self) -> str:
        """What people read: data set, tokenizer, grid point, seed."""
        point = " ".join(f"{axis}={value}" for axis, value in self.axes.items())
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
    found: list[Cell] = []
    labels = _labels(suite)
    for data in suite.data:
        signal = signal_spec(data)
        for entry, label in zip(suite.tokenizers, labels, strict=True):
            if not _wanted(entry, data):
                continue
            for axes in _points(entry):
                options = merge(merge({"training": dict(suite.training)}, entry.options), _nested(axes))
                place = entry.where
                if axes:
                    place += f" ({', '.join(f'{axis}={value}' for axis, value in axes.items())})"
                config = resolve(entry.recipe, signal, options, where=place)
                shown_axes = {axis: shown(value) for axis, value in axes.items()}
                found += [
                    Cell(data=data, tokenizer=config, recipe=entry.recipe, label=label, axes=shown_axes, seed=seed)
                    for seed in suite.seeds
                ]
    if not found:
        raise UserError(f"{suite.where}: no tokenizer fits any of the data sets (see `modalities` and `data`)")
    return tuple(found)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on top, tables merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def shown(value: Any) -> Any:
    """A grid value as one table cell: lists become 2x4x4, a list of equal numbers that number."""
    if isinstance(value, list | tuple):
        return value[0] if len(set(map(str, value))) == 1 else "x".join(str(v) for v in value)
    return value


def _labels(suite: Suite) -> list[str]:
    """A label per entry; entries that share one recipe and have no label of their own are numbered."""
    labels: list[str] = []
    for entry in suite.tokenizers:
        base = entry.label or entry.recipe
        clashes = [e for e in suite.tokenizers if (e.label or e.recipe) == base and _overlap(e, entry)]
        labels.append(base if len(clashes) == 1 or clashes[0] is entry else f"{base}#{clashes.index(entry) + 1}")
    return labels


def _overlap(a: TokenizerEntry, b: TokenizerEntry) -> bool:
    same_modality = not a.modalities or not b.modalities or bool(set(a.modalities) & set(b.modalities))
    same_data = not a.data or not b.data or bool(set(a.data) & set(b.data))
    return a is b or (same_modality and same_data)


def _wanted(entry: TokenizerEntry, data: DataConfig) -> bool:
    recipe = load_recipe(entry.recipe, where=f"{entry.where}.recipe")
    if entry.data and data.label not in entry.data:
        return False
    if entry.modalities and data.modality not in entry.modalities:
        return False
    return data.modality in recipe.modalities


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
