"""How many classes a data set has, as far as that can be told without decoding it. No torch."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from .config import DataConfig
from .file_source import chosen_classes
from .folder import folder_classes


@lru_cache(maxsize=256)
def class_count(config: DataConfig) -> int | None:
    """Classes of the data set, 0 without labels; None where only reading it can tell (torchvision, archives, no such
    folder). Asked for each cell of a plan, a folder is walked once: a plan begins with `class_count.cache_clear()`."""
    if config.kind == "procedural":
        from .procedural import classes

        return len(classes(config.modality))
    if config.kind != "folder":
        return None
    if config.labels == "none":
        return 0
    if config.path is None or not Path(config.path).expanduser().is_dir():
        return None
    return len(chosen_classes(config, folder_classes(config)))
