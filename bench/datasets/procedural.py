"""The embedded data set: images, clips and sounds made of structure over texture, both known. Numpy alone.

A sample is structure (shapes or sound events, whose class is the label) plus texture (stationary Gaussian noise with
a stated spectrum, see `texture.TEXTURE`), clipped to [-1, 1]. Sample i depends on (seed, split, i), the geometry and
the options `complexity`, `texture`, `objects`, `colours` and `pitches` alone, so any part of any sample can be made
again at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ...tokenizers.spec import Modality
from . import shapes, sounds
from .config import DataConfig, stored_shape
from .source import Item, Progress, SourceReader, silent
from .texture import TEXTURE, gaussian_texture

# Which of a sample's uniform numbers says how many shapes or events it has, and what is there in plain samples: no
# shape, but one event, since silence has no signal-to-noise ratio.
_COUNT, _NO_SHAPE, _ONE_EVENT = 1, -1.0, 0.0
# Elements made at a time: enough to pay for numpy's calls, few enough to stay in the processor's cache.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Parts:
    """What samples are made of. `signal`, `structure`, `texture` `[B, C, *shape]` float32 in [-1, 1] units (sounds:
    the waveform); `mask` `[B, *shape]` bool (sounds: `[B, N]`), True on structure; `label` int64 `[B]`.

    `signal` is `structure + texture` clipped to [-1, 1].
    """

    signal: np.ndarray
    structure: np.ndarray
    texture: np.ndarray
    mask: np.ndarray
    label: np.ndarray


def classes(modality: Modality) -> tuple[str, ...]:
    """The kinds of structure in a modality."""
    return sounds.CLASSES if modality.is_audio else shapes.CLASSES


def parts(config: DataConfig, split: Literal["train", "val"], indices: int | np.ndarray) -> Parts:
    """The samples at `indices` (int64 `[B]`, or one index: B = 1) of the split, taken apart."""
    indices = np.atleast_1d(np.asarray(indices, np.int64))
    shape = stored_shape(config)
    uniforms, white = _random(config, split, indices, shape)
    texture = gaussian_texture(white, TEXTURE[config.modality]) * np.float32(config.texture)
    texture[_plain(config, indices)] = 0
    structure, mask, label = _structure(config, uniforms, shape)
    return Parts(np.clip(structure + texture, -1, 1), structure, texture, mask, label)


class Procedural:
    """The data source "procedural": `samples` training and `val` validation samples."""

    version: ClassVar[int] = 1

    def content(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> str:
        """Empty: the configuration says it all."""
        return ""

    def read(self, config: DataConfig, *, cache: Path, progress: Progress = silent) -> SourceReader:
        """All samples, in blocks."""
        assert config.samples is not None
        assert isinstance(config.val, int)
        size = max(1, _BLOCK // math.prod(stored_shape(config)))
        counts: tuple[tuple[Literal["train", "val"], int], ...] = (("train", config.samples), ("val", config.val))

        def items() -> Iterator[Item]:
            for split, n in counts:
                for start in range(0, n, size):
                    stop = min(start + size, n)
                    drawn = parts(config, split, np.arange(start, stop))
                    block = _stored(drawn.signal, config.modality)
                    yield Item(name=f"{split}[{start}:{stop}]", blocks=[block], label=drawn.label, split=split)

        return SourceReader(
            items=items(),
            total=sum(-(-n // size) for _, n in counts),
            classes=classes(config.modality),
            samples=config.samples + config.val,
            files=False,
        )


def _plain(config: DataConfig, indices: np.ndarray) -> np.ndarray:
    """Which samples have no texture and next to no structure, bool `[B]`."""
    return (config.complexity == "mixed") & (np.asarray(indices) % 2 == 1)


def _simplify(config: DataConfig, uniforms: np.ndarray, indices: np.ndarray) -> None:
    uniforms[_plain(config, indices), _COUNT] = _ONE_EVENT if config.modality.is_audio else _NO_SHAPE


def _random(
    config: DataConfig, split: str, indices: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    uniforms = np.empty((len(indices), _uniforms(config)))
    white = np.empty((len(indices), *shape), np.float32)
    for row, index in enumerate(indices):
        generator = _generator(config, split, int(index))
        generator.random(out=uniforms[row])
        generator.standard_normal(dtype=np.float32, out=white[row])
    _simplify(config, uniforms, indices)
    return uniforms, white


def _generator(config: DataConfig, split: str, index: int) -> np.random.Generator:
    stream = (config.seed % (1 << 62)) * 2 + (split == "val")
    return np.random.Generator(np.random.Philox(key=[stream, index]))


def _uniforms(config: DataConfig) -> int:
    return sounds.UNIFORMS if config.modality.is_audio else shapes.UNIFORMS


def _structure(
    config: DataConfig, uniforms: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if config.modality.is_audio:
        steady = config.pitches == "steady"
        structure, mask = sounds.draw(
            uniforms, shape[-1], config.sample_rate, shape[0], most=config.objects, steady=steady
        )
        return structure, mask, sounds.labels(uniforms)
    still = config.modality is Modality.IMAGE
    frames, by_class = 1 if still else config.frames, config.colours == "class"
    structure, mask = shapes.draw(uniforms, frames, config.sides, most=config.objects, by_class=by_class)
    if shape[0] == 1:
        structure = structure.mean(axis=1, keepdims=True)
    if still:
        structure, mask = structure[:, :, 0], mask[:, 0]
    return structure, mask, shapes.labels(uniforms)


def _stored(signal: np.ndarray, modality: Modality) -> np.ndarray:
    if modality.is_audio:
        return np.clip(np.rint(signal * 32768), -32768, 32767).astype(np.int16)
    return np.rint((signal + 1) * np.float32(127.5)).astype(np.uint8)
