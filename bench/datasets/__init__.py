"""Data sets: a configuration names a source, which is decoded once into a bounded cache and memory-mapped.

Everything here but `open_dataset` works without torch.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...results.errors import UserError
from ...tokenizers.registry import Registry
from .cache import Cache, default_cache
from .config import DataConfig, signal_spec
from .entry import DamagedEntryError, forget, read_index, remember
from .source import Item, Progress, Skip, Source, SourceReader, silent

if TYPE_CHECKING:
    from .cached import CachedDataset

__all__ = [
    "CachedDataset",
    "DataConfig",
    "Item",
    "Skip",
    "Source",
    "SourceReader",
    "damage_of_cached",
    "default_cache",
    "fingerprint",
    "open_dataset",
    "signal_spec",
    "sources",
]

sources = Registry(
    "data source",
    "latentbench.datasets",
    {
        "procedural": "bench.datasets.procedural:Procedural",
        "folder": "bench.datasets.folder:Folder",
        "torchvision": "bench.datasets.torchvision_sets:TorchvisionSource",
    },
)


def fingerprint(config: DataConfig, *, cache: Path | None = None, progress: Progress | None = None) -> str:
    """A hash (64 hex digits) of everything that decides the data set's samples: identity, versions, files' content.

    Moving the files changes nothing, changing one byte of one does. Content hashes are remembered under `cache` (the
    default cache folder when None). Raises UserError for a source that does not exist or has nothing usable.
    """
    return _names(config, cache or default_cache(), progress or silent)[0]


def open_dataset(
    config: DataConfig,
    *,
    cache: Path | None = None,
    fingerprint: str | None = None,
    progress: Progress | None = None,
) -> CachedDataset:
    """The data set, decoded into `cache` if it is not there yet, memory-mapped.

    Two processes that open the same data set decode it once. With the `fingerprint` of an earlier call, a decoded data
    set is found without a look at its files. Raises UserError when nothing can be read, when the files are no longer
    those of the `fingerprint`, when the data set does not fit the cache's bound (`LATENTBENCH_CACHE_GB`), or when the
    cache can't be written.
    """
    from .cached import load
    from .store import build

    progress = progress or silent
    root = Path(cache) if cache is not None else default_cache()
    source = sources.get(config.kind, where="data.source")()
    store = Cache(root)
    key = store.resolve(fingerprint) if fingerprint is not None else None
    if key is None:
        now, key = _names(config, root, progress)
        if fingerprint not in (None, now):
            raise UserError(f"data: the files of {config.label} have changed since the run was planned; run it again")
        fingerprint = now
    assert fingerprint is not None
    with store.lock(key):
        folder = store.find(key)
        if folder is not None:
            try:
                data = load(folder, config, fingerprint)
                store.remember(fingerprint, key)
                return data
            except DamagedEntryError as error:
                print(f"{folder}: damaged ({error}); {config.label} is decoded anew", file=sys.stderr)
                store.drop(key)
        with store.new(key) as draft:
            build(draft, config, source.read(config, cache=root, progress=progress), progress)
        remember(store.path(key))
        store.remember(fingerprint, key)
        return load(store.path(key), config, fingerprint)


def damage_of_cached(config: DataConfig, *, cache: Path, fingerprint: str) -> str | None:
    """What is wrong with the decoded data set, read whole; None when nothing is, or when it is not in the cache.

    What is damaged is decoded anew when it is next opened.
    """
    store = Cache(cache)
    key = store.resolve(fingerprint)
    if key is None:
        return None
    try:
        read_index(store.path(key), whole=True)
    except DamagedEntryError as error:
        forget(store.path(key))
        return str(error)
    return None


def _names(config: DataConfig, cache: Path, progress: Progress) -> tuple[str, str]:
    """The data set's fingerprint and the key of its decoded samples, which may serve other data sets too."""
    source = sources.get(config.kind, where="data.source")()
    shared = {
        "versions": [config.version, source.version],
        "content": source.content(config, cache=cache, progress=progress),
    }
    return _digest({"identity": config.identity(), **shared}), _digest({"storage": config.storage(), **shared})[:32]


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def __getattr__(name: str) -> object:
    # `CachedDataset` needs torch, which a plan does without.
    if name == "CachedDataset":
        from .cached import CachedDataset

        return CachedDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
