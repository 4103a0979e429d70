"""What training changes in a sample at random. A draw is a number that decides all of it, so that it does not matter
who cuts the sample, or when.

Shape legend: B samples, C channels, H height, W width.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .config import DataConfig

# Random sizes and shapes as torchvision's RandomResizedCrop has them by default (Szegedy et al. 2015).
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10


def augmented(config: DataConfig) -> DataConfig:
    """The configuration by which a sample is cut for training."""
    return replace(config, crop="random") if "crop" in config.augment else config


def flipped(draws: np.ndarray) -> np.ndarray:
    """Which samples are mirrored: bool `[B]`, half of them."""
    return np.array([bool(np.random.default_rng([int(draw), 1]).integers(2)) for draw in draws], bool)


def resized_crop(image: Tensor, sides: tuple[int, int], generator: np.random.Generator) -> Tensor:
    """A random part of `[C, H, W]` uint8, resized (bicubic, antialiased) to `[C, *sides]`.

    Its area is 8 to 100 % of the image's, its ratio 3/4 to 4/3 of that of `sides`; after ten parts that do not fit, the
    largest centre within these ratios.
    """
    height, width = image.shape[1:]
    shape = sides[1] / sides[0]
    for _ in range(_TRIES):
        area = height * width * generator.uniform(*_AREA)
        ratio = shape * math.exp(generator.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            y, x = int(generator.integers(height - h + 1)), int(generator.integers(width - w + 1))
            break
    else:
        w, h = min(width, round(height * shape * _RATIO[1])), min(height, round(width / (shape * _RATIO[0])))
        y, x = (height - h) // 2, (width - w) // 2
    part = image[:, y : y + h, x : x + w]
    return torch.nn.functional.interpolate(part[None], list(sides), mode="bicubic", antialias=True)[0]
