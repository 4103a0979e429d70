"""JPEG (codecs, A19): ITU-T T.81, baseline, through torchvision's libjpeg."""

from __future__ import annotations

import torch
from torch import Tensor

from ..spec import SignalSpec
from .jpeg_config import JPEGConfig
from .stream import StreamCodec, UndecodableError, from_bytes, to_bytes

_END = b"\xff\xd9"


class JPEG(StreamCodec):
    """The entropy-coded scan alone: tables and sizes depend on the quality and the shape only, so they are not coded.

    libjpeg fills in what a broken scan leaves open, and says so on stderr; only what it refuses is undecodable.
    """

    def __init__(self, config: JPEGConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        self.quality = config.quality
        blank = self._file(torch.zeros(signal.channels, *signal.shape))
        scan = blank.index(b"\xff\xda") + 2
        self._header = blank[: scan + int.from_bytes(blank[scan : scan + 2], "big")]

    def compress(self, sample: Tensor) -> bytes:
        file = self._file(sample)
        if not (file.startswith(self._header) and file.endswith(_END)):
            raise RuntimeError("this libjpeg writes headers that depend on the picture")
        return file[len(self._header) : -len(_END)]

    def expand(self, stream: bytes) -> Tensor:
        from torchvision.io import ImageReadMode, decode_jpeg

        data = torch.frombuffer(bytearray(self._header + stream + _END), dtype=torch.uint8)
        mode = ImageReadMode.GRAY if self.signal.channels == 1 else ImageReadMode.RGB
        try:
            pixels = decode_jpeg(data, mode=mode)
        except RuntimeError as error:
            raise UndecodableError(str(error)) from None
        if pixels.shape != (self.signal.channels, *self.signal.shape):
            raise UndecodableError(f"a picture of shape {tuple(pixels.shape)}")
        return from_bytes(pixels)

    def _file(self, sample: Tensor) -> bytes:
        from torchvision.io import encode_jpeg

        data: bytes = encode_jpeg(to_bytes(sample).contiguous(), quality=self.quality).numpy().tobytes()
        return data
