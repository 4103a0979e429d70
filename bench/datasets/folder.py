"""The source "folder": a user's image, video or audio files. Listing and hashing need no torch, decoding does.

Files are ranked by their content's hash: the order in which they are read, and thereby the split, depends on what the
files hold and not on their names or on the file system. Exact duplicates count once.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from ...results.errors import UserError
from ...tokenizers.spec import Modality
from .complaints import by_reason
from .config import DataConfig, require_path, stored_shape
from .files import FileState, file_state, find_folder, hash_files, list_files
from .source import Changed, Item, Progress, Skip, SourceReader, silent

_AUDIO = (".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma")
EXTENSIONS: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: (".gif", ".jpeg", ".jpg", ".png", ".webp"),
    Modality.VIDEO: (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"),
    Modality.WAVEFORM: _AUDIO,
    Modality.SPECTROGRAM: _AUDIO,
}
_KIND = {Modality.IMAGE: "image", Modality.VIDEO: "video", Modality.WAVEFORM: "audio", Modality.SPECTROGRAM: "audio"}
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
# Files are decoded ahead on threads when their samples fit this much memory; larger ones stream, one at a time.
_AHEAD_BYTES = 256 << 20

Decode = Callable[[Path, DataConfig, np.random.Generator], Iterator[np.ndarray]]


@dataclass(frozen=True)
class _File:
    name: str
    digest: str
    state: FileState
    label: str | None


@dataclass(frozen=True)
class _Listing:
    root: Path
    files: tuple[_File, ...]  # by rank: no two with the same content
    problems: tuple[tuple[str, str], ...]
    duplicates: int


class Folder:
    """The data source "folder"."""

    version: ClassVar[int] = 2

    def content(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> str:
        """A hash over the files' hashes (and classes). Raises UserError when no file looks like one of its kind."""
        listing = _list(config, cache, progress)
        _expect_usable(config, listing)
        digest = hashlib.sha256()
        for file in listing.files:
            digest.update(f"{file.digest} {file.label}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def read(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> SourceReader:
        """The files, by rank."""
        listing = _list(config, cache, silent)
        classes = tuple(sorted({file.label for file in listing.files if file.label is not None}))
        return SourceReader(
            items=_items(config, listing, classes),
            total=len(listing.files),
            classes=classes,
            skipped=listing.problems,
            duplicates=listing.duplicates,
        )


def _list(config: DataConfig, cache: Path, progress: Progress) -> _Listing:
    root = find_folder(require_path(config))
    extensions = EXTENSIONS[config.modality]
    names, problems = list_files(root, extensions)
    if not names:
        what = "is empty" if not any(root.iterdir()) else f"has no {_KIND[config.modality]} files"
        raise UserError(f"data.path: {root} {what} (read are {' '.join(extensions)})")
    hashes, unread = hash_files(root, names, cache=cache, progress=progress)
    labels = folder_labels(config, list(hashes))
    first: dict[str, str] = {}
    for name in sorted(hashes):
        first.setdefault(hashes[name].digest, name)
    files = tuple(_File(name, digest, hashes[name].state, labels.get(name)) for digest, name in sorted(first.items()))
    return _Listing(root, files, (*problems, *unread), len(hashes) - len(first))


def folder_labels(config: DataConfig, names: list[str]) -> dict[str, str]:
    """Each file's class: its parent folder's name, when every file has one and there are at least two."""
    if config.labels == "none":
        return {}
    parents = {name: PurePosixPath(name).parent.name for name in names}
    classes = set(parents.values())
    if len(classes) >= 2 and "" not in classes:
        return parents
    if config.labels == "folder":
        raise UserError(
            f"data.labels: 'folder' needs every file of {config.path} in a sub-folder named for its class, and at "
            "least two of them; use 'auto' or 'none'"
        )
    return {}


def _expect_usable(config: DataConfig, listing: _Listing) -> None:
    if any(_looks_right(listing.root / file.name, config.modality) for file in listing.files):
        return
    kind = _KIND[config.modality]
    problems = [*((file.name, f"not {kind} data") for file in listing.files), *listing.problems]
    counts = ", ".join(f"{count} {reason}" for reason, count in by_reason(reason for _, reason in problems).items())
    raise UserError(
        f"data.path: none of the {len(problems)} {kind} files in {listing.root} can be used: {counts} "
        f"(the first: {problems[0][0]})"
    )


def _looks_right(path: Path, modality: Modality) -> bool:
    """Whether the file begins like one of its kind. Decoding may fail all the same."""
    import av

    try:
        if modality is Modality.IMAGE:
            with path.open("rb") as file:
                return file.read(8).startswith(_MAGIC)
        with av.open(str(path)) as container:
            return len(container.streams.audio if modality.is_audio else container.streams.video) > 0
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def _items(config: DataConfig, listing: _Listing, classes: tuple[str, ...]) -> Iterator[Item]:
    decode = _decoder(config.modality)
    rank = {name: index for index, name in enumerate(classes)}

    def blocks(file: _File) -> Iterator[np.ndarray]:
        path, generator = listing.root / file.name, np.random.default_rng([config.seed, int(file.digest[:16], 16)])
        try:
            _expect_same(path, file.state)
            yield from decode(path, config, generator)
            _expect_same(path, file.state)
        except Skip:
            # What can't be decoded may be a file that is being written.
            _expect_same(path, file.state)
            raise
        except Changed as change:
            raise Changed(f"{file.name} {change}") from None

    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    window = 4 * min(8, workers)
    clip = math.prod(stored_shape(config)) * (2 if config.modality.is_audio else 1)
    if config.modality is not Modality.IMAGE and config.per_file * clip * window > _AHEAD_BYTES:
        ahead: Iterator[tuple[_File, Iterator[np.ndarray]]] = ((file, blocks(file)) for file in listing.files)
    else:
        ahead = _ahead(blocks, listing.files, min(8, workers), window)
    for file, decoded in ahead:
        label = None if file.label is None else rank[file.label]
        yield Item(name=file.name, blocks=decoded, label=label)


def _expect_same(path: Path, state: FileState) -> None:
    """Raises Changed when the file is not what it was when it was hashed."""
    try:
        if file_state(path) == state:
            return
    except OSError as error:
        raise Changed(f"{path.name} can't be read ({(error.strerror or 'input/output error').lower()})") from None
    raise Changed(f"{path.name} has changed")


def _ahead(
    blocks: Callable[[_File], Iterator[np.ndarray]], files: tuple[_File, ...], workers: int, window: int
) -> Iterator[tuple[_File, Iterator[np.ndarray]]]:
    """The files in order with their blocks, decoded on `workers` threads, at most `window` files ahead."""

    def wait(future: Future[list[np.ndarray]]) -> Iterator[np.ndarray]:
        yield from future.result()

    queue: deque[tuple[_File, Future[list[np.ndarray]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for file in files:
            queue.append((file, pool.submit(lambda f: list(blocks(f)), file)))
            if len(queue) >= window:
                done, future = queue.popleft()
                yield done, wait(future)
        for done, future in queue:
            yield done, wait(future)
    finally:
        pool.shutdown(cancel_futures=True)


def _decoder(modality: Modality) -> Decode:
    if modality is Modality.IMAGE:
        from .images import decode_image_file

        return decode_image_file
    if modality is Modality.VIDEO:
        from .videos import decode_video_file

        return decode_video_file
    from .audio import decode_audio_file

    return decode_audio_file
