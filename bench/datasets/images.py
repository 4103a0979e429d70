"""Image files to crops of one size: resizing and cropping.

Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .adm_crop import adm_resize
from .augment import resized_crop
from .config import DataConfig
from .image_file import read_image
from .media import Media
from .places import choose
from .source import Skip

# A file this many times smaller than the crop says more about the resampler than about the picture.
_MOST_ENLARGED = 2


def decode_image_file(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Crops `[n, C, height, width]` uint8 of the image file. Raises Skip when it can't be used."""
    yield cut_image(read_image(path), config, generator)


def decode_resized_crop(path: Media, config: DataConfig, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """One random part of the image file, resized: `[1, C, height, width]` uint8. Raises Skip when it can't be used."""
    image = to_channels(read_image(path), config.channels)
    _expect_large(image.shape[1], image.shape[2], config)
    yield resized_crop(image, config.sides, generator)[None].numpy()


def cut_image(image: Tensor, config: DataConfig, generator: np.random.Generator) -> np.ndarray:
    """`[3, H, W]` uint8 to crops `[n, C, height, width]` uint8. Raises Skip when the image is too small.

    "short" resizes (bicubic, antialiased) so that the image just covers the crop (of a square: its short side is
    `size`), or for tiles the largest multiple of it that does not enlarge; "adm" resizes as ADM does (`adm_crop`);
    "none" cuts native pixels.
    """
    (high, wide), (height, width) = config.sides, image.shape[1:]
    times = max(1, min(height // high, width // wide)) if config.crop == "tiles" else 1
    image = fit_image(to_channels(image, config.channels), (high * times, wide * times), config)
    corners = _corners((image.shape[1], image.shape[2]), config.sides, config.crop, config.per_file, generator)
    return np.stack([image[:, y : y + high, x : x + wide].numpy() for y, x in corners])


def to_channels(image: Tensor, channels: int) -> Tensor:
    """`[3, H, W]` uint8 as it is, or as grey `[1, H, W]` (luma of BT.601)."""
    if channels == 3:
        return image
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    return (image * weights).sum(0, keepdim=True).round().to(torch.uint8)


def fit_image(image: Tensor, sides: tuple[int, int], config: DataConfig) -> Tensor:
    """`[C, H, W]` resized so that it just covers `sides` (`resize` "short" or "adm"), or unchanged. Raises Skip when
    the image is too small for a crop of `config.size`."""
    target = fitted(image.shape[1], image.shape[2], sides, config)
    if config.resize == "adm":
        return adm_resize(image, sides[0])
    if target == [*image.shape[1:]]:
        return image
    return torch.nn.functional.interpolate(image[None], target, mode="bicubic", antialias=True)[0]


def fitted(height: int, width: int, sides: tuple[int, int], config: DataConfig) -> list[int]:
    """The height and width that a picture of `height` x `width` is scaled to. Raises Skip as `fit_image` does."""
    _expect_large(height, width, config)
    if config.resize == "none":
        return [height, width]
    high, wide = sides
    flat = height * wide <= width * high  # the height decides
    return [high, width * high // height] if flat else [height * wide // width, wide]


def _expect_large(height: int, width: int, config: DataConfig) -> None:
    high, wide = config.sides
    most = 1 if config.resize == "none" else _MOST_ENLARGED
    if height * most < high or width * most < wide or min(height, width) < 2:
        crop = f"{high}" if high == wide else f"{wide} x {high}"
        raise Skip(f"too small: {width} x {height} pixels for crops of {crop}")


def _corners(
    image: tuple[int, int],
    sides: tuple[int, int],
    crop: Literal["center", "tiles", "random"],
    most: int,
    generator: np.random.Generator,
) -> list[tuple[int, int]]:
    (height, width), (high, wide) = image, sides
    if crop == "center":
        return [((height - high) // 2, (width - wide) // 2)]
    if crop == "random":
        ys = generator.integers(0, height - high + 1, most)
        xs = generator.integers(0, width - wide + 1, most)
        return sorted({(int(y), int(x)) for y, x in zip(ys, xs, strict=True)})
    rows, columns = height // high, width // wide
    top, left = (height - rows * high) // 2, (width - columns * wide) // 2
    places = choose(rows * columns, most, crop, generator)
    return [(top + (i // columns) * high, left + (i % columns) * wide) for i in places]
