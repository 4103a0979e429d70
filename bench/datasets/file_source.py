"""What the sources of media files have in common: files listed in a table, ranked by content, decoded one by one."""

from __future__ import annotations

import hashlib
import math
import os
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...results.errors import UserError
from ...tokenizers.spec import Modality
from .complaints import by_reason
from .config import DataConfig, stored_shape
from .file_table import FileTable, ListedFile
from .files import FileState, file_state, passed_over
from .media import KIND, Media
from .source import Changed, Item, Progress, Skip, SourceReader, silent

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
# Files are decoded ahead on threads when their samples fit this much memory; larger ones stream, one at a time.
_AHEAD_BYTES = 256 << 20

Decode = Callable[[Media, DataConfig, np.random.Generator], Iterator[np.ndarray]]


class FileSource:
    """A data source that consists of files; the folder that holds them, or archives of them, is its `root`."""

    version: ClassVar[int]

    @abstractmethod
    def root(self, config: DataConfig) -> Path:
        """The folder that file names are relative to. Raises UserError."""

    @abstractmethod
    def fill(self, table: FileTable, config: DataConfig, progress: Progress) -> list[tuple[str, str]]:
        """Put the files in the table; returns what could not be listed, with reasons. Raises UserError."""

    @abstractmethod
    def media(self, config: DataConfig, root: Path, file: ListedFile) -> Media:
        """The file, for a decoder. Raises OSError or Skip."""

    def content(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> str:
        """A hash over the files' hashes (and classes). Raises UserError when no file looks like one of its kind."""
        with self.opened(config, cache, progress) as (table, problems, classes):
            self._expect_usable(config, table, problems)
            digest = hashlib.sha256()
            for file in table.files():
                label = file.label if classes else None
                digest.update(f"{file.digest} {label}\n".encode("utf-8", "surrogateescape"))
            return digest.hexdigest()

    def read(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> SourceReader:
        """The files, by rank."""
        table = FileTable(cache, self.root(config))
        problems = self.fill(table, config, silent)
        classes = chosen_classes(config, table.classes())

        def items() -> Iterator[Item]:
            with table:
                yield from self._items(config, table, classes)

        return SourceReader(
            items=items(),
            total=table.total,
            classes=classes,
            skipped=(*problems, *table.problems()),
            duplicates=table.duplicates,
            notes=tuple(filter(None, [passed_over(table.passed_over)])),
        )

    @contextmanager
    def opened(
        self, config: DataConfig, cache: Path, progress: Progress
    ) -> Iterator[tuple[FileTable, list[tuple[str, str]], tuple[str, ...]]]:
        """The table of the files, what could not be listed, and the classes."""
        with FileTable(cache, self.root(config)) as table:
            problems = self.fill(table, config, progress)
            yield table, problems, chosen_classes(config, table.classes())

    def blocks(self, config: DataConfig, root: Path, file: ListedFile, draw: int | None = None) -> Iterator[np.ndarray]:
        """What is cut from a file; with a `draw`, which is a number, at random as that number decides.

        Raises Skip, and Changed when the file is no longer what it was when it was listed.
        """
        holder = root / file.container
        seeds = [config.seed, int(file.digest[:16], 16), *([] if draw is None else [draw])]
        generator = np.random.default_rng(seeds)
        decode = decoder(config.modality, resized=draw is not None and "resized-crop" in config.augment)
        try:
            expect_same(holder, file.state)
            yield from decode(self._media(config, root, file), config, generator)
            expect_same(holder, file.state)
        except Skip:
            # What can't be decoded may be a file that is being written.
            expect_same(holder, file.state)
            raise
        except Changed as change:
            raise Changed(f"{file.name} {change}") from None

    def _media(self, config: DataConfig, root: Path, file: ListedFile) -> Media:
        try:
            return self.media(config, root, file)
        except OSError as error:
            raise Changed(f"can't be read ({(error.strerror or 'input/output error').lower()})") from None

    def _items(self, config: DataConfig, table: FileTable, classes: tuple[str, ...]) -> Iterator[Item]:
        rank = {name: index for index, name in enumerate(classes)}
        root = table.root

        def blocks(file: ListedFile) -> Iterator[np.ndarray]:
            return self.blocks(config, root, file)

        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        window = 4 * min(8, workers)
        clip = math.prod(stored_shape(config)) * (2 if config.modality.is_audio else 1)
        if config.modality is not Modality.IMAGE and config.per_file * clip * window > _AHEAD_BYTES:
            ahead: Iterator[tuple[ListedFile, Iterator[np.ndarray]]] = ((file, blocks(file)) for file in table.files())
        else:
            ahead = _ahead(blocks, table.files(), min(8, workers), window)
        for file, decoded in ahead:
            label = rank[file.label] if classes and file.label is not None else None
            yield Item(name=file.name, blocks=decoded, label=label, marks=partial(self._marks, config, root, file))

    def _marks(self, config: DataConfig, root: Path, file: ListedFile) -> tuple[str, ...]:
        if config.modality is not Modality.VIDEO:
            return ()
        from .videos import video_marks

        with suppress(Skip):
            return video_marks(self._media(config, root, file))
        return ()

    def _expect_usable(self, config: DataConfig, table: FileTable, problems: list[tuple[str, str]]) -> None:
        if any(self._looks_right(config, table.root, file) for file in table.files()):
            return
        kind = KIND[config.modality]
        problems = [*((file.name, f"not {kind} data") for file in table.files()), *problems, *table.problems()]
        counts = ", ".join(f"{count} {reason}" for reason, count in by_reason(reason for _, reason in problems).items())
        raise UserError(
            f"data.path: none of the {len(problems)} {kind} files in {table.root} can be used: {counts} "
            f"(the first: {problems[0][0]})"
        )

    def _looks_right(self, config: DataConfig, root: Path, file: ListedFile) -> bool:
        """Whether the file begins like one of its kind. Decoding may fail all the same."""
        import av

        from .libav import open_media

        try:
            media = self.media(config, root, file)
            if config.modality is Modality.IMAGE:
                with media.open("rb") as opened:
                    return opened.read(8).startswith(_MAGIC)
            with open_media(media) as container:
                return len(container.streams.audio if config.modality.is_audio else container.streams.video) > 0
        except (av.error.FFmpegError, OSError, ValueError, Skip):
            return False


def chosen_classes(config: DataConfig, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that are used of those that the files have. Raises UserError where there are none and must be."""
    if config.labels == "none":
        return ()
    if config.labels == "folder" and not classes:
        raise UserError(
            f"data.labels: 'folder' needs every file of {config.path} in a sub-folder named for its class, and at "
            "least two of them; use 'auto' or 'none'"
        )
    return classes


def expect_same(path: Path, state: FileState) -> None:
    """Raises Changed when the file is not what it was when it was hashed."""
    try:
        if file_state(path) == state:
            return
    except OSError as error:
        raise Changed(f"{path.name} can't be read ({(error.strerror or 'input/output error').lower()})") from None
    raise Changed(f"{path.name} has changed")


def _ahead(
    blocks: Callable[[ListedFile], Iterator[np.ndarray]], files: Iterable[ListedFile], workers: int, window: int
) -> Iterator[tuple[ListedFile, Iterator[np.ndarray]]]:
    """The files in order with their blocks, decoded on `workers` threads, at most `window` files ahead."""

    def wait(future: Future[list[np.ndarray]]) -> Iterator[np.ndarray]:
        yield from future.result()

    queue: deque[tuple[ListedFile, Future[list[np.ndarray]]]] = deque()
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


def decoder(modality: Modality, *, resized: bool = False) -> Decode:
    """What decodes files of the modality, `resized` to a random part of a picture; it needs torch for pictures."""
    if modality is Modality.IMAGE:
        from .images import decode_image_file, decode_resized_crop

        return decode_resized_crop if resized else decode_image_file
    if modality is Modality.VIDEO:
        from .videos import decode_video_file

        return decode_video_file
    from .audio import decode_audio_file

    return decode_audio_file
