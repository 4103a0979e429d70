"""How many classes a data set has, as far as that can be told without decoding it. No torch."""

from __future__ import annotations

from pathlib import Path

from .config import DataConfig
from .files import list_files
from .folder import EXTENSIONS, folder_labels


def class_count(config: DataConfig) -> int | None:
    """Classes of the data set, 0 without labels; None where only reading it can tell (torchvision, no such folder)."""
    if config.kind == "procedural":
        from .procedural import classes

        return len(classes(config.modality))
    if config.kind != "folder":
        return None
    if config.labels == "none":
        return 0
    root = Path(config.path).expanduser() if config.path else None
    if root is None or not root.is_dir():
        return None
    names, _ = list_files(root, EXTENSIONS[config.modality])
    return len(set(folder_labels(config, names).values()))
