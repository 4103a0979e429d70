"""Data sets: a configuration names a source, which is decoded once into a bounded cache and memory-mapped, or while
it is used.

Everything here but `open_dataset` (and `decode`, where files have to be decoded) works without torch.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...results.errors import UserError
from ...tokenizers.registry import Registry
from .cache import Cache, default_cache
from .config import DataConfig, signal_spec
from .entry import DamagedEntryError, forget, read_index, remember
from .source import Changed, Item, Progress, Skip, Source, SourceReader, silent

if TYPE_CHECKING:
    from .cached import CachedDataset

T = TypeVar("T")

__all__ = [
    "CachedDataset",
    "Changed",
    "DataConfig",
    "Item",
    "Skip",
    "Source",
    "SourceReader",
    "damage_of_cached",
    "decode",
    "default_cache",
    "fingerprint",
    "in_cache",
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
        "webdataset": "bench.datasets.webdataset:WebDataset",
        "parquet": "bench.datasets.parquet:Parquet",
        "torchvision": "bench.datasets.torchvision_sets:TorchvisionSource",
    },
)


# Attempts at decoding files that change meanwhile.
_ATTEMPTS = 3


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
    """The data set, decoded into `cache` if it is not there yet, memory-mapped. Raises UserError as `decode` does."""
    if config.stream:
        from .streamed import load as load_streamed

        source = sources.get(config.kind, where="data.source")()
        return _decoded(config, cache, fingerprint, progress, partial(load_streamed, source=source))
    from .cached import load

    return _decoded(config, cache, fingerprint, progress, load)


def decode(
    config: DataConfig,
    *,
    cache: Path | None = None,
    fingerprint: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder of the data set in `cache`, decoded if it is not there yet.

    Two processes that want the same data set decode it once. With the `fingerprint` of an earlier call, a decoded data
    set is found without a look at its files. Raises UserError when nothing can be read, when the files are no longer
    those of the `fingerprint`, when the data set does not fit the cache's bound (`LATENTBENCH_CACHE_GB`), or when the
    cache can't be written.
    """
    return _decoded(config, cache, fingerprint, progress, lambda folder, config, fingerprint: folder)


def _decoded(
    config: DataConfig,
    cache: Path | None,
    fingerprint: str | None,
    progress: Progress | None,
    use: Callable[[Path, DataConfig, str], T],
) -> T:
    root = Path(cache) if cache is not None else default_cache()
    for _ in range(_ATTEMPTS):
        try:
            return _used(config, root, fingerprint, progress or silent, use)
        except Changed as change:
            trouble = change
    raise UserError(f"data: {config.label}: {trouble} while it was being decoded; run again when its files are at rest")


def _used(
    config: DataConfig,
    root: Path,
    fingerprint: str | None,
    progress: Progress,
    use: Callable[[Path, DataConfig, str], T],
) -> T:
    """What `use` gives of the decoded folder, called while no other process can drop it from the cache.

    Raises Changed when the files are not those that the fingerprint is of.
    """
    from .store import build, build_index

    source = sources.get(config.kind, where="data.source")()
    store = Cache(root)
    key = store.resolve(_alias(config, fingerprint)) if fingerprint is not None else None
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
                read_index(folder)
                store.remember(_alias(config, fingerprint), key)
                return use(folder, config, fingerprint)
            except DamagedEntryError as error:
                print(f"{folder}: damaged ({error}); {config.label} is decoded again", file=sys.stderr)
                store.drop(key)
        with store.new(key) as draft:
            if config.stream:
                build_index(draft, config, source, root, progress)
            else:
                build(draft, config, source.read(config, cache=root, progress=progress), progress)
            # Files that are decoded while they are used are compared with their listed state then.
            if not config.stream and _names(config, root, silent)[1] != key:
                raise Changed("the set of files has changed")
        remember(store.path(key))
        store.remember(_alias(config, fingerprint), key)
        return use(store.path(key), config, fingerprint)


def in_cache(config: DataConfig, *, cache: Path, fingerprint: str) -> bool:
    """Whether the data set is decoded already."""
    return Cache(cache).resolve(_alias(config, fingerprint)) is not None


def damage_of_cached(config: DataConfig, *, cache: Path, fingerprint: str) -> str | None:
    """What is wrong with the decoded data set, read whole; None when nothing is, or when it is not in the cache.

    What is damaged is decoded again when it is next opened.
    """
    store = Cache(cache)
    key = store.resolve(_alias(config, fingerprint))
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
    place = _place(config)
    storage = {"storage": config.storage(), **shared} | ({"place": place} if place else {})
    return _digest({"identity": config.identity(), **shared}), _digest(storage)[:32]


def _place(config: DataConfig) -> list[str] | None:
    """Where the files of a set lie that is not decoded into the cache: its entry names them."""
    return [config.kind, str(Path(config.path or "").expanduser().absolute())] if config.stream else None


def _alias(config: DataConfig, fingerprint: str) -> str:
    """The name under which the cache knows the entry of a fingerprint."""
    place = _place(config)
    return fingerprint if place is None else _digest([fingerprint, place])


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def __getattr__(name: str) -> object:
    # `CachedDataset` needs torch, which a plan does without.
    if name == "CachedDataset":
        from .cached import CachedDataset

        return CachedDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
