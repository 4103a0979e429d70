"""What the entries of a suite are called in tables: the label as given, else the recipe and what differs from it.

Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ..tokenizers.options import merge, normalise
from ..tokenizers.recipe import load_recipe
from .suite import TokenizerEntry

# Options that hold one part, and those that hold a table of parts.
_SINGLE = (
    "codec",
    "backbone",
    "decoder",
    "bottleneck",
    "diffusion_decoder",
    "sequence_coding",
    "corruption",
    "scramble",
)
_SEVERAL = ("losses", "auxiliary", "regularisers")


def labels(entries: Sequence[TokenizerEntry], overlap: Callable[[TokenizerEntry, TokenizerEntry], bool]) -> list[str]:
    """A label per entry.

    Entries that would share one on the same data (`overlap`) say in which options they differ, or are numbered where
    they differ in none.
    """
    bases = [_base(entry) for entry in entries]
    result: list[str] = []
    for i, entry in enumerate(entries):
        clashes = [j for j, other in enumerate(entries) if bases[j] == bases[i] and (j == i or overlap(other, entry))]
        result.append(" ".join([bases[i], *_differences(entry, [entries[j] for j in clashes])]))
    numbered: list[str] = []
    for i, entry in enumerate(entries):
        same = [j for j, other in enumerate(entries) if result[j] == result[i] and (j == i or overlap(other, entry))]
        numbered.append(result[i] if same[0] == i else f"{result[i]}#{same.index(i) + 1}")
    return numbered


def shown_recipe(entry: TokenizerEntry) -> str:
    """The recipe's name, or the codec's where an entry puts a codec of its own in the recipe's place; the adapter's."""
    if entry.adapter:
        return entry.adapter
    changes = dict(changed_parts(entry))
    return changes.get("codec", entry.recipe)


def changed_parts(entry: TokenizerEntry) -> list[tuple[str, str]]:
    """The parts that an entry puts in the place of its recipe's, as (option, name)."""
    if entry.adapter:
        return []
    recipe = load_recipe(entry.recipe, where=f"{entry.where}.recipe")
    modality = next((m for m in entry.modalities if m in recipe.modalities), recipe.modalities[0])
    own: dict[str, Any] = {}
    for layer in recipe.layers(modality):
        own = merge(own, normalise(layer, where=f"recipe {recipe.name}"))
    merged = merge(own, normalise(entry.options, where=entry.where))
    changes = []
    for key in _SINGLE:
        kind = _kind(merged.get(key))
        if kind and kind != _kind(own.get(key)):
            changes.append((key, kind))
    for key in _SEVERAL:
        names = _used(merged.get(key))
        if names != _used(own.get(key)):
            changes.append((key, "+".join(names) or "none"))
    return changes


def _base(entry: TokenizerEntry) -> str:
    """The label as given, else the recipe with the parts that the entry changes and the prior that it names; of an
    adapter what its path ends with."""
    if entry.label:
        return entry.label
    if entry.adapter:
        prior = entry.prior.get("name")
        return path_label(str(entry.options.get("path", entry.adapter))) + (f" + {prior}" if prior else "")
    changes = changed_parts(entry)
    parts = [shown_recipe(entry), *(f"{key}={name}" for key, name in changes if key != "codec")]
    prior = entry.prior.get("name")
    return " ".join(parts) + (f" + {prior}" if prior else "")


def path_label(path: str) -> str:
    """What a tokenizer at `path` is called: the folder's or file's name, or the class after the colon."""
    module, _, attribute = path.rpartition(":")
    return attribute if module else PurePath(path.rstrip("/").split(",")[0]).name or path


def _differences(entry: TokenizerEntry, clashes: Sequence[TokenizerEntry]) -> list[str]:
    """The options of the entry that not all of `clashes` have alike."""
    if len(clashes) < 2:
        return []
    tables = [dict(_flat({**other.options, "prior": other.prior})) for other in clashes]
    own = dict(_flat({**entry.options, "prior": entry.prior}))
    changed = dict(changed_parts(entry))  # which the label names already
    return [
        f"{key}={value}"
        for key, value in own.items()
        if key.partition(".")[0] not in changed
        and key != "prior.name"
        and any(table.get(key) != value for table in tables)
    ]


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The values of nested tables as text, by dotted key."""
    pairs: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            pairs.append((f"{prefix}{key}", text))
    return pairs


def _kind(part: Any) -> str:
    kind = part.get("kind", "") if isinstance(part, Mapping) else part
    return kind if isinstance(kind, str) else ""


def _used(table: Any) -> list[str]:
    """The names in a table of parts that are switched on."""
    if not isinstance(table, Mapping):
        return []
    off = (0, 0.0, False)
    return sorted(name for name, part in table.items() if _weight(part) not in off)


def _weight(part: Any) -> Any:
    return part.get("weight", 1.0) if isinstance(part, Mapping) else part
