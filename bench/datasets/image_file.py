"""Image files to pixels, upright and over white: torchvision where it reads correctly, Pillow for the rest.

Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

import io

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image

from .complaints import decoding, expect_pixels
from .image_header import ImageHeader, read_header
from .media import Media
from .source import Skip


def read_image(path: Media) -> Tensor:
    """The image as `[3, H, W]` uint8: upright (EXIF), transparent pixels over white, 16 bits rounded to 8, the first
    frame of an animation. Raises Skip when it can't be decoded."""
    with decoding(path, "image"):
        data = path.read_bytes()
        header = read_header(data)
        expect_pixels(header.width, header.height)
        if header.damaged or (header.suspect and not _decodes_whole(data)):
            raise Skip("damaged: part of its data is not that of an image")
        pillow = header.kind == "gif" or header.animated
        return _upright(_from_pillow(data) if pillow else _from_torchvision(data, header), header.orientation)


def _from_torchvision(data: bytes, header: ImageHeader) -> Tensor:
    # Asked for an alpha channel, torchvision refuses a JPEG and misreads a PNG that has none; colour keys it ignores
    # or, at 16 bits, refuses.
    mode = ImageReadMode.RGB_ALPHA if header.transparent else ImageReadMode.RGB
    encoded = bytearray(data)
    del encoded[slice(*header.key_at)]
    image = decode_image(torch.frombuffer(encoded, dtype=torch.uint8), mode)
    if header.key is not None:
        # Samples of 1, 2 and 4 bits have been stretched to 8.
        stretch = 255 // (2**header.depth - 1) if header.depth < 8 else 1
        key = torch.tensor(header.key).reshape(-1, 1, 1) * stretch
        white, values = 65535 if image.dtype == torch.uint16 else 255, image.to(torch.int32)
        image = torch.where((values == key).all(0), torch.tensor(white, dtype=torch.int32), values).to(image.dtype)
    return flatten_image(image)


def _from_pillow(data: bytes) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        extents = image.tile[0][1] if image.format == "GIF" and image.tile else None
        pixels = flatten_image(pixels_of(image))
    if extents is not None:
        # What the first frame does not cover is transparent.
        left, top, right, bottom = extents
        covered = torch.zeros(pixels.shape[1:], dtype=torch.bool)
        covered[top:bottom, left:right] = True
        pixels = torch.where(covered, pixels, torch.tensor(255, dtype=torch.uint8))
    return pixels


def _upright(image: Tensor, orientation: int) -> Tensor:
    """`[3, H, W]` as EXIF's orientation means it to be seen: 1 to 4 are turned and mirrored, 5 to 8 transposed too."""
    if orientation > 4:
        image = image.transpose(1, 2)
    flipped = [axis for axis, when in ((1, (3, 4, 7, 8)), (2, (2, 3, 6, 7))) if orientation in when]
    return image.flip(flipped) if flipped else image


def pixels_of(image: Image.Image) -> Tensor:
    """A Pillow image as `[1 to 4, H, W]` uint8: grey, grey and alpha, RGB or RGBA."""
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def flatten_image(image: Tensor) -> Tensor:
    """`[1 to 4, H, W]` uint8 or uint16 (grey, grey and alpha, RGB, RGBA) to `[3, H, W]` uint8 over white."""
    if image.dtype == torch.uint16:
        image = ((image.to(torch.int32) + 128) // 257).to(torch.uint8)
    if image.shape[0] in (2, 4):
        colour, alpha = image[:-1].to(torch.int32), image[-1:].to(torch.int32)
        image = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).to(torch.uint8)
    return image.expand(3, -1, -1)


def _decodes_whole(data: bytes) -> bool:
    """Whether a decoder that reports errors in a JPEG's data, as libjpeg does not, finds none."""
    try:
        with av.open(io.BytesIO(data), "r", format="jpeg_pipe") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"err_detect": "explode"}
            return any(True for _ in container.decode(stream))
    except av.error.InvalidDataError:
        return False
    except av.error.FFmpegError:
        return True  # a kind of JPEG that this decoder does not know
