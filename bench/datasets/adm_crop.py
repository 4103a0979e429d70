"""The resize of ADM's centre crop (Dhariwal & Nichol 2021, arXiv 2105.05233), with Pillow's filters and its rounding.

Most published ImageNet numbers are of pictures cut so. Shape legend: C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def adm_resize(image: Tensor, size: int) -> Tensor:
    """`[C, H, W]` uint8 to one whose short side is `size`: halved by 2 x 2 means while it stays at least `size`, then
    resized bicubically (antialiased), the long side rounded."""
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = size / min(picture.size)
    target = (round(picture.width * scale), round(picture.height * scale))
    resized = torch.from_numpy(np.array(picture.resize(target, Image.Resampling.BICUBIC)))
    return resized[None] if resized.ndim == 2 else resized.permute(2, 0, 1)
