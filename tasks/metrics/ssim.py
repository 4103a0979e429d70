"""Structural similarity (Wang et al. 2004) with Gaussian windows, as two banded matrix products.

Shape legend: P planes (batch x channels), H, W height and width; h, w the same after valid filtering.
"""

from __future__ import annotations

from functools import lru_cache, partial

import torch
from torch import Tensor

from ...results.errors import UserError
from ...tokenizers.spec import Modality, SignalSpec
from .frames import per_frame
from .interface import PairMetric, where_finite
from .precision import full_precision
from .psnr import to_uint8

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03

# A banded product costs (block + window - 1) multiplications an output: small enough to beat a convolution, large
# enough for a fast matrix product.
_BLOCK = 118
# Elements of one map handled at once: the four maps and their blurs stay in the cache of a CPU core pair.
_CHUNK = {"cpu": 1 << 18, "cuda": 1 << 25}


def window_size(height: int, width: int) -> int:
    """The window's side in pixels: 11, or the largest odd number that fits a smaller image."""
    side = min(WINDOW, height, width)
    return side - 1 + side % 2


@torch.no_grad()
def ssim(x: Tensor, y: Tensor, *, data_range: float) -> Tensor:
    """Mean structural similarity of each pair: `[B, C, H, W]` twice, values in [0, data_range], to `[B]` float32.

    Gaussian 11x11 window with sigma 1.5, K1 = .01, K2 = .03, population covariances, valid positions only (no
    padding), mean over positions and channels: what pytorch-msssim gives, and scikit-image with `gaussian_weights=True,
    use_sample_covariance=False`; torchmetrics averages over a reflected border too. An image smaller than 11 pixels
    gets the largest odd window that fits, of the same sigma. Signals in [-1, 1] go through `to_uint8` and range 255
    first: SSIM depends on where zero is. Not differentiable. Raises UserError on different shapes.
    """
    if x.ndim != 4 or x.shape != y.shape:
        raise UserError(f"ssim: images must be [B, C, H, W] of one shape, got {list(x.shape)} and {list(y.shape)}")
    batch, channels, height, width = x.shape
    planes = batch * channels
    x, y = x.reshape(planes, height, width), y.reshape(planes, height, width)
    values = torch.empty(planes, device=x.device)
    step = max(1, _CHUNK.get(x.device.type, _CHUNK["cuda"]) // (height * width))
    size = window_size(height, width)
    workspace = torch.empty(4, min(step, planes), height, width, device=x.device)
    with full_precision():
        for start in range(0, planes, step):
            part = slice(start, start + step)
            values[part] = _ssim_planes(x[part], y[part], data_range, size, workspace)
    return values.view(batch, channels).mean(1)


def _ssim_planes(x_PHW: Tensor, y_PHW: Tensor, data_range: float, size: int, workspace: Tensor) -> Tensor:
    # With the middle of the range as origin E[xy] - E[x]E[y] loses fewer bits. Only the sum of the two variances is
    # needed, so four maps are blurred and not five.
    origin = data_range / 2
    maps = workspace[:, : len(x_PHW)]
    x, y, xy, squares = maps
    x.copy_(x_PHW).sub_(origin)
    y.copy_(y_PHW).sub_(origin)
    torch.mul(x, y, out=xy)
    torch.mul(x, x, out=squares).addcmul_(y, y)
    mean_x, mean_y, mean_xy, mean_squares = _blur(maps, size)

    covariance = mean_xy.addcmul_(mean_x, mean_y, value=-1)
    variances = mean_squares.addcmul_(mean_x, mean_x, value=-1).addcmul_(mean_y, mean_y, value=-1)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    structure = covariance.mul_(2).add_(c2).div_(variances.add_(c2))
    # (2 mx my + c1) / (mx² + my² + c1) = 1 - (mx - my)² / (mx² + my² + c1), exact where the means are nearly equal.
    difference = mean_x - mean_y
    scale = mean_x.add_(origin).square_().add_(mean_y.add_(origin).square_()).add_(c1)
    luminance = difference.square_().div_(scale).neg_().add_(1)
    return structure.mul_(luminance).mean((-2, -1))


def _blur(maps: Tensor, size: int) -> Tensor:
    """`[4, P, H, W]` to `[4, P, h, w]`, the separable Gaussian of `size` taps at valid positions."""
    count, planes, height, width = maps.shape
    rows = maps.reshape(-1, width)
    narrow = maps.new_empty(len(rows), width - size + 1)
    for start, band in _bands(width, size, maps.device):
        torch.mm(rows[:, start : start + band.shape[1]], band.t(), out=narrow[:, start : start + band.shape[0]])
    narrow = narrow.view(count * planes, height, -1)
    blurred = maps.new_empty(count * planes, height - size + 1, narrow.shape[2])
    for start, band in _bands(height, size, maps.device):
        columns = narrow[:, start : start + band.shape[1]]
        out = blurred[:, start : start + band.shape[0]]
        torch.bmm(band.expand(len(columns), *band.shape), columns, out=out)
    return blurred.view(count, planes, *blurred.shape[1:])


@lru_cache(maxsize=64)
def _bands(length: int, size: int, device: torch.device) -> tuple[tuple[int, Tensor], ...]:
    """The banded matrix of the filter, in blocks: (first position, `[outputs, inputs]`) each."""
    taps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.exp(-taps.square() / (2 * SIGMA**2))
    window = (window / window.sum()).float()
    outputs = length - size + 1
    blocks = []
    for start in range(0, outputs, _BLOCK):
        rows = min(_BLOCK, outputs - start)
        band = torch.zeros(rows, rows + size - 1)
        for row in range(rows):
            band[row, row : row + size] = window
        blocks.append((start, band.to(device)))
    return tuple(blocks)


class Ssim(PairMetric):
    """See `SsimConfig`."""

    def values(self, reconstruction: Tensor, original: Tensor, signal: SignalSpec) -> Tensor:
        rounded = to_uint8(reconstruction), to_uint8(original)
        measure = partial(ssim, data_range=255.0)
        values = per_frame(measure, *rounded) if signal.modality is Modality.VIDEO else measure(*rounded)
        return where_finite(values, reconstruction, original)

    def protocol(self, signal: SignalSpec) -> str:
        size = window_size(signal.shape[-2], signal.shape[-1])
        per = "frame" if signal.modality is Modality.VIDEO else "image"
        return (
            f"mean of per-{per} SSIM; uint8 by rounding and clamping; range 255; Gaussian {size}x{size} window, "
            f"sigma {SIGMA}, K1 {K1}, K2 {K2}, valid positions, mean over channels"
        )
