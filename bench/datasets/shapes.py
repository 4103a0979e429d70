"""Structure for images and videos: a few smooth-edged shapes of one class, still or moving. Numpy alone.

Shape legend: B samples, K shapes in a sample, T frames, H and W pixels. Coordinates run from -1 to 1 over the frame's
short side, and as far over its long side as its ratio says.
"""

from __future__ import annotations

import numpy as np

CLASSES = ("disc", "square", "triangle", "ring", "bars")
MOST = 3
# Uniform numbers a sample is made from: class, count, background (3), then per shape: x, y, radius, angle, colour (3),
# velocity (2), spin.
PER_SHAPE = 10
UNIFORMS = 5 + MOST * PER_SHAPE
# The colours that stand for the classes, told apart by the colour-blind too, and what lies behind them; in [-1, 1].
PALETTE = ((0.7, -0.25, -0.9), (-0.4, 0.4, 0.8), (0.8, 0.75, -0.4), (-0.9, 0.25, -0.1), (0.6, -0.05, 0.3))
BACKGROUND = (-0.8, -0.8, -0.7)
_EDGE = 1.5  # pixels over which a shape's edge fades


def labels(u: np.ndarray) -> np.ndarray:
    """The class of each sample, int64 `[B]`, from its uniform numbers `[B, UNIFORMS]`."""
    return np.minimum((u[:, 0] * len(CLASSES)).astype(np.int64), len(CLASSES) - 1)


def draw(
    u: np.ndarray, frames: int, sides: tuple[int, int], *, most: int = MOST, by_class: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Structure `[B, 3, T, H, W]` float32 in [-1, 1] and its mask `[B, T, H, W]` bool (covered at least by half).

    One to `most` (at most three) shapes of the sample's class over a plain background, later ones over earlier ones.
    Each moves by at most 0.6 (of the half frame) and turns by at most 60 degrees over the clip, at constant velocity.
    With `by_class` a class has one colour, and all samples one background.
    """
    u = u.astype(np.float32)
    label, n = labels(u), len(u)
    background = u[:, 2:5] - np.float32(0.5)
    if by_class:
        background = np.broadcast_to(np.array(BACKGROUND, np.float32), background.shape)
    structure = np.broadcast_to(background[:, :, None, None, None], (n, 3, frames, *sides)).copy()
    clear = np.ones((n, frames, *sides), np.float32)
    count = 1 + np.minimum((u[:, 1] * most).astype(np.int64), most - 1)
    for k in range(most):
        rows = np.flatnonzero(count > k)
        if len(rows):
            own = u[rows, 5 + k * PER_SHAPE : 5 + (k + 1) * PER_SHAPE]
            alpha = _cover(own, label[rows], count[rows], frames, sides)
            colour = np.array(PALETTE, np.float32)[label[rows]] if by_class else _colour(own[:, 4:7], background[rows])
            structure[rows] += alpha[:, None] * (colour[:, :, None, None, None] - structure[rows])
            clear[rows] *= 1 - alpha
    return structure, clear <= 0.5


def _colour(u: np.ndarray, background: np.ndarray) -> np.ndarray:
    """A colour away from the background on the other side of grey: `[B, 3]` in [-0.75, 0.75]."""
    side = np.where(background.mean(axis=1, keepdims=True) > 0, np.float32(-1), np.float32(1))
    return np.clip(background + side * (np.float32(0.25) + np.float32(0.65) * u), -0.75, 0.75)


def _cover(u: np.ndarray, label: np.ndarray, count: np.ndarray, frames: int, sides: tuple[int, int]) -> np.ndarray:
    """How much of each pixel a shape covers: `[B, T, H, W]` in [0, 1]."""
    short = min(sides)
    rows_at, columns_at = (
        (np.arange(side, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / short) - np.float32(side / short)
        for side in sides
    )
    reach = np.array([sides[1] / short, sides[0] / short], np.float32)
    when = (np.arange(frames, dtype=np.float32) - np.float32((frames - 1) / 2)) / np.float32(max(frames, 2))
    centre = (u[:, :2] - np.float32(0.5)) * np.float32(1.2) * reach
    velocity = (u[:, 7:9] - np.float32(0.5)) * np.float32(1.2)
    radius = ((np.float32(0.24) + np.float32(0.24) * u[:, 2]) * (1.35 - 0.175 * count)).astype(np.float32)
    angle = u[:, 3, None] * np.float32(2 * np.pi) + (u[:, 9, None] - np.float32(0.5)) * np.float32(2.1) * when
    x = columns_at[None, None, None, :] - (centre[:, 0, None] + velocity[:, 0, None] * when)[:, :, None, None]
    y = rows_at[None, None, :, None] - (centre[:, 1, None] + velocity[:, 1, None] * when)[:, :, None, None]
    cos, sin = np.cos(angle)[:, :, None, None], np.sin(angle)[:, :, None, None]
    along, across = cos * x + sin * y, cos * y - sin * x
    distance = np.empty((len(u), frames, *sides), np.float32)
    for kind, name in enumerate(CLASSES):
        rows = label == kind
        if rows.any():
            distance[rows] = _DISTANCE[name](along[rows], across[rows], radius[rows, None, None, None])
    ramp = np.clip(np.float32(0.5) - distance * np.float32(short / (2 * _EDGE)), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _disc(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y) - r


def _square(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.85) * r


def _triangle(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    slanted = np.abs(x) * np.float32(np.sqrt(0.75)) + y * np.float32(0.5)
    return np.maximum(slanted, -y) - np.float32(0.6) * r


def _ring(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - np.float32(0.8) * r) - np.float32(0.25) * r


def _bars(x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    box = np.maximum(np.abs(x), np.abs(y)) - r
    # Two bars: the middle half of each half of the box.
    stripe = np.abs(np.abs(x) - np.float32(0.6) * r) - np.float32(0.3) * r
    return np.maximum(box, stripe)


_DISTANCE = {"disc": _disc, "square": _square, "triangle": _triangle, "ring": _ring, "bars": _bars}
