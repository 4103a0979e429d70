"""The source "parquet": media files in a column of Parquet files, laid out as Hugging Face's `datasets` writes them.

The column is a struct with the fields `bytes` and `path`, or plain bytes; `label` beside it, if it is there, is the
class: a number (whose names the file's metadata may have) or a text. Needs the extra `parquet` (pyarrow).
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from ...results.errors import UserError
from ...tokenizers.spec import Modality
from .config import DataConfig
from .file_table import ListedFile, Member
from .media import Media
from .media import Member as MediaMember
from .shards import Shards
from .source import Skip

_NAMES = {
    Modality.IMAGE: ("image", "img", "jpg", "png", "webp"),
    Modality.VIDEO: ("video", "mp4", "clip"),
    Modality.WAVEFORM: ("audio", "sound", "wav", "flac", "mp3"),
    Modality.SPECTROGRAM: ("audio", "sound", "wav", "flac", "mp3"),
}
_LABEL = "label"
_ROWS = 64  # read at a time while hashing
_MOST_BYTES = 256 << 20  # of row groups that were read last


class Parquet(Shards):
    """The data source "parquet"."""

    ending, reader = ".parquet", "parquet 1"
    version: ClassVar[int] = Shards.version

    def members(self, path: Path, name: str, config: DataConfig) -> Iterator[Member]:
        with _opened(path) as file:
            column = _media_column(file.schema_arrow, config.modality, path)
            label = _LABEL if _LABEL in file.schema_arrow.names else None
            classes = _class_names(file.schema_arrow)
            for group in range(file.num_row_groups):
                row = 0
                for batch in file.iter_batches(
                    _ROWS, row_groups=[group], columns=[column] if label is None else [column, label]
                ):
                    rows = batch.to_pydict()
                    for i, value in enumerate(rows[column]):
                        data = value.get("bytes") if isinstance(value, dict) else value
                        known = None if label is None else _class(rows[label][i], classes)
                        digest = None if data is None else hashlib.sha256(data).hexdigest()
                        problem = None if data is not None else "empty: the row has a path and no bytes"
                        yield Member(f"{name}:{group}.{row:06d}", group, row, known, digest, problem)
                        row += 1

    def media(self, config: DataConfig, root: Path, file: ListedFile) -> Media:
        value = _groups.read(root / file.container, file, config.modality)[file.length].as_py()
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if data is None:
            raise Skip("empty: the row has no bytes")
        return MediaMember(str(path or file.name), data)


class _Groups:
    """The row groups that were read last: a row can't be had without its group."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._groups: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def read(self, path: Path, file: ListedFile, modality: Modality) -> Any:
        """The media column of the row group `file.begin`. Raises OSError and UserError."""
        key = (str(path), file.state, file.begin, modality)
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key]
        with _opened(path) as opened:
            column = _media_column(opened.schema_arrow, modality, path)
            group = opened.read_row_group(file.begin, columns=[column]).column(0)
        with self._lock:
            self._groups[key] = group
            while sum(other.nbytes for other in self._groups.values()) > _MOST_BYTES and len(self._groups) > 1:
                self._groups.popitem(last=False)
        return group


_groups = _Groups()


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UserError(
            "data.source: 'parquet' needs pyarrow, which is not installed: pip install 'latentbench[parquet]'"
        ) from None
    try:
        return ParquetFile(path)
    except ArrowException as error:
        raise UserError(f"data.path: {path} can't be read as Parquet: {' '.join(str(error).split())[:120]}") from None


def _media_column(schema: Any, modality: Modality, path: Path) -> str:
    """The name of the column with the files. Raises UserError when there is none."""
    columns = [field.name for field in schema if _holds_bytes(field)]
    named = [name for name in _NAMES[modality] if name in columns]
    if named:
        return named[0]
    if len(columns) == 1:
        return str(columns[0])
    raise UserError(
        f"data.path: {path} has no column with the bytes of files (one called {_NAMES[modality][0]!r}, a struct with "
        f"bytes and path); its columns: {', '.join(schema.names)}"
    )


def _holds_bytes(field: Any) -> bool:
    import pyarrow.types as types

    kind = field.type
    if types.is_struct(kind):
        return any(_holds_bytes(kind.field(i)) for i in range(kind.num_fields) if kind.field(i).name == "bytes")
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _class_names(schema: Any) -> list[str]:
    """The names of the label's numbers, as Hugging Face's metadata have them; empty without."""
    with suppress(KeyError, ValueError, TypeError):
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[_LABEL]["names"]]
    return []


def _class(value: Any, names: list[str]) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(value)
