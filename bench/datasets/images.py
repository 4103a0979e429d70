"""Image files to crops of one size: resizing and cropping.

Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .augment import resized_crop
from .config import DataConfig
from .image_file import pixels_of, read_image
from .media import Media
from .places import choose
from .source import Skip

# A file this many times smaller than the crop says more about the resampler than about the picture.
_MOST_ENLARGED = 2


def decode_image_file(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Crops `[n, C, size, size]` uint8 of the image file. Raises Skip when it can't be used."""
    yield cut_image(read_image(path), config, generator)


def decode_resized_crop(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """One random part of the image file, resized: `[1, C, size, size]` uint8. Raises Skip when it can't be used."""
    image = to_channels(read_image(path), config.channels)
    _expect_large(image, config)
    yield resized_crop(image, config.size, generator)[None].numpy()


def cut_image(image: Tensor, config: DataConfig, generator: np.random.Generator) -> np.ndarray:
    """`[3, H, W]` uint8 to crops `[n, C, size, size]` uint8. Raises Skip when the image is too small.

    "short" resizes (bicubic, antialiased) so that the short side is `size`, or for tiles the largest multiple of
    `size` that does not enlarge; "none" cuts native pixels.
    """
    size, (height, width) = config.size, image.shape[1:]
    times = max(1, min(height, width) // size) if config.crop == "tiles" else 1
    image = fit_image(to_channels(image, config.channels), size * times, config)
    corners = _corners(image.shape[1], image.shape[2], size, config.crop, config.per_file, generator)
    return np.stack([image[:, y : y + size, x : x + size].numpy() for y, x in corners])


def to_channels(image: Tensor, channels: int) -> Tensor:
    """`[3, H, W]` uint8 as it is, or as grey `[1, H, W]` (luma of BT.601)."""
    if channels == 3:
        return image
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    return (image * weights).sum(0, keepdim=True).round().to(torch.uint8)


def fit_image(image: Tensor, short: int, config: DataConfig) -> Tensor:
    """`[C, H, W]` resized so that its short side is `short` (`resize` "short"), or unchanged. Raises Skip when the
    image is too small for a crop of `config.size`."""
    _expect_large(image, config)
    height, width = image.shape[1:]
    side = min(height, width)
    if config.resize == "adm":
        return _halved_and_scaled(image, short)
    if config.resize == "none" or side == short:
        return image
    target = [height * short // side, width * short // side]
    return torch.nn.functional.interpolate(image[None], target, mode="bicubic", antialias=True)[0]


def _halved_and_scaled(image: Tensor, short: int) -> Tensor:
    """`[C, H, W]` uint8 to a short side of `short` as the training data of ADM (Dhariwal & Nichol 2021): halved by a
    box filter while twice as large, then bicubic, both Pillow's."""
    picture = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())
    while min(picture.size) >= 2 * short:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = short / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return pixels_of(picture.resize(size, Image.Resampling.BICUBIC))


def _expect_large(image: Tensor, config: DataConfig) -> None:
    height, width = image.shape[1:]
    if min(height, width) * (1 if config.resize == "none" else _MOST_ENLARGED) < config.size or min(height, width) < 2:
        raise Skip(f"too small: {width} x {height} pixels for crops of {config.size}")


def _corners(
    height: int,
    width: int,
    size: int,
    crop: Literal["center", "tiles", "random"],
    most: int,
    generator: np.random.Generator,
) -> list[tuple[int, int]]:
    if crop == "center":
        return [((height - size) // 2, (width - size) // 2)]
    if crop == "random":
        ys = generator.integers(0, height - size + 1, most)
        xs = generator.integers(0, width - size + 1, most)
        return sorted({(int(y), int(x)) for y, x in zip(ys, xs, strict=True)})
    rows, columns = height // size, width // size
    top, left = (height - rows * size) // 2, (width - columns * size) // 2
    places = choose(rows * columns, most, crop, generator)
    return [(top + (i // columns) * size, left + (i % columns) * size) for i in places]
