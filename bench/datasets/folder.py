"""The source "folder": a user's image, video or audio files. Listing and hashing need no torch, decoding does.

Files are ranked by their content's hash: the order in which they are read, and thereby the split, depends on what the
files hold and not on their names or on the file system. Exact duplicates count once.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import ClassVar

from ...results.errors import UserError
from .config import DataConfig, require_path
from .file_source import FileSource
from .file_table import FileTable, ListedFile
from .files import find_folder, passed_over, walk
from .media import EXTENSIONS, KIND, Media
from .source import Progress


class Folder(FileSource):
    """The data source "folder"."""

    version: ClassVar[int] = 2

    def root(self, config: DataConfig) -> Path:
        return find_folder(require_path(config))

    def fill(self, table: FileTable, config: DataConfig, progress: Progress) -> list[tuple[str, str]]:
        extensions = EXTENSIONS[config.modality]
        problems: list[tuple[str, str]] = []
        names = walk(table.root, extensions, problems, table.passed_over)
        table.add_files(names, progress, lambda name: PurePosixPath(name).parent.name)
        if not table.listed:
            what = "is empty" if not any(table.root.iterdir()) else f"has no {KIND[config.modality]} files"
            beside = passed_over(table.passed_over)
            raise UserError(
                f"data.path: {table.root} {what} (read are {' '.join(extensions)}{f'; {beside}' if beside else ''})"
            )
        return problems

    def media(self, config: DataConfig, root: Path, file: ListedFile) -> Media:
        return root / file.name


def folder_classes(config: DataConfig) -> tuple[str, ...]:
    """The classes of a folder's files, told by their names alone. Raises UserError as the source does."""
    parents = {PurePosixPath(name).parent.name for name in walk(Folder().root(config), EXTENSIONS[config.modality], [])}
    return tuple(sorted(parents)) if len(parents) >= 2 and "" not in parents else ()
