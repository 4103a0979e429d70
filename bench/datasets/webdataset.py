"""The source "webdataset": media files in tar archives, read where they lie. Needs no package but the standard library.

A member's key is its name up to the first dot of its last part; members with one key are one sample, as in the format
of the package of that name (Aizman, Maltby & Breuel 2019). `KEY.cls` holds the sample's class.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ...results.errors import UserError
from .config import DataConfig
from .file_table import ListedFile, Member
from .media import EXTENSIONS, Media
from .media import Member as MediaMember
from .shards import Shards

_CHUNK = 1 << 20
_CLASS = ".cls"
_LONGEST_CLASS = 1000


class WebDataset(Shards):
    """The data source "webdataset"."""

    ending, reader = ".tar", "tar 2"
    version: ClassVar[int] = Shards.version

    def members(self, path: Path, name: str, config: DataConfig) -> Iterator[Member]:
        """The archive's media files; their class is that of `KEY.cls`, else the folder's name in the archive."""
        extensions = EXTENSIONS[config.modality]
        listed: list[tuple[str, int, int, str, str | None]] = []
        classes: dict[str, str] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                file = archive.fileobj
                assert file is not None
                for entry in archive:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep all of them
                    place = PurePosixPath(entry.name)
                    if not entry.isreg() or any(part.startswith(".") for part in place.parts if part != "."):
                        continue
                    key, _, ending = place.name.partition(".")
                    if f".{ending.lower()}" == _CLASS:
                        file.seek(entry.offset_data)
                        text = file.read(min(entry.size, _LONGEST_CLASS)).decode("utf-8", "replace").strip()
                        classes[str(place.with_name(key))] = text
                    elif entry.name.lower().endswith(extensions):
                        digest = _digest(file, entry.offset_data, entry.size)
                        listed.append((entry.name, entry.offset_data, entry.size, str(place.with_name(key)), digest))
        except tarfile.ReadError as error:
            if not listed:
                reason = "it is compressed: unpack it once (gunzip, zstd -d)" if _compressed(path) else str(error)
                raise UserError(f"data.path: {path} can't be read as a tar archive: {reason}") from None
            yield Member(name, 0, 0, None, None, "cut short: the archive ends in the middle of a file")
        # A label of `KEY.cls` counts where every file has one; a file's own folder does else.
        by_class = all(key in classes for _, _, _, key, _ in listed)
        for member, begin, length, key, digest in listed:
            label = classes[key] if by_class else PurePosixPath(member).parent.name
            problem = None if digest is not None else "cut short: the archive ends in the middle of it"
            yield Member(f"{name}:{member}", begin, length, label, digest, problem)

    def media(self, config: DataConfig, root: Path, file: ListedFile) -> Media:
        with (root / file.container).open("rb") as archive:
            archive.seek(file.begin)
            return MediaMember(file.name, archive.read(file.length))


def _digest(file: Any, begin: int, length: int) -> str | None:
    """SHA-256 of the bytes there; None when they are not all there."""
    file.seek(begin)
    digest, left = hashlib.sha256(), length
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            return None
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def _compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
