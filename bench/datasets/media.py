"""What a decoder reads: a file on disk, or the bytes of one that lies in an archive."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

from ...tokenizers.spec import Modality

# Containers of sound alone: a clip beside its sound track would be read twice, so .mp4 and .webm are for videos.
_AUDIO = (
    ".aac", ".ac3", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mp2", ".mp3", ".oga", ".ogg",
    ".opus", ".tta", ".w64", ".wav", ".weba", ".wma", ".wv",
)  # fmt: skip
_VIDEO = (
    ".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".webm", ".wmv", ".y4m",
)  # fmt: skip
EXTENSIONS: dict[Modality, tuple[str, ...]] = {
    Modality.IMAGE: (".gif", ".jpeg", ".jpg", ".png", ".webp"),
    Modality.VIDEO: _VIDEO,
    Modality.WAVEFORM: _AUDIO,
    Modality.SPECTROGRAM: _AUDIO,
}
KIND = {Modality.IMAGE: "image", Modality.VIDEO: "video", Modality.WAVEFORM: "audio", Modality.SPECTROGRAM: "audio"}


class Member:
    """A file that lies in an archive, read into memory. `name` ends as the file's own does: formats are told by it
    too."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self._data = name, data

    def open(self, mode: str = "rb") -> BinaryIO:
        """Its bytes as a file."""
        return _Opened(self.name, self._data)

    def read_bytes(self) -> bytes:
        """All its bytes."""
        return self._data


class _Opened(io.BytesIO):
    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        self.name = name  # libav looks at it


Media = Path | Member


def byte_count(media: Media) -> int:
    """How many bytes the file has. Raises OSError."""
    return media.stat().st_size if isinstance(media, Path) else len(media.read_bytes())


def for_libav(media: Media) -> Any:
    """What `av.open` takes."""
    return str(media) if isinstance(media, Path) else media.open()
