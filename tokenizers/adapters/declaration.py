"""What an adapter declares of somebody else's tokenizer, and which signals that admits. No torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ...results.errors import UserError
from ..spec import LatentGrid, Modality, SignalSpec, Topology
from ..validation import check

_FRAMES = re.compile(r"([1-9]\d*)k(?:\+([1-9]\d*))?")
_SHARE = 1e-3  # by which a clip's frame rate or a sound's rate may differ: none but rounding


@dataclass(frozen=True, kw_only=True)
class Normaliser:
    """How latents become what the published prior saw: (z - `mean`) / `std`, of all channels or per channel.

    `origin` says where the numbers come from ("config.json: scaling_factor"); "" is no normaliser: then latents are
    normalised per channel by the training split's own statistics.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    origin: str = ""

    def __post_init__(self) -> None:
        if not self.mean or not self.std or len({1, len(self.mean), len(self.std)}) > 2:
            raise ValueError("mean and std have one entry, or one per channel")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The facts without which a third-party tokenizer gives plausible, wrong numbers.

    `modalities` it takes, the first by default; signals of `channels` channels with values in `range`, at `rate` Hz
    (sounds; None: any). Sides are multiples of `multiple` (one number, or one per axis of the signal); with `pad` the
    signal is continued with zeros at its end instead, and cropped after decoding. `frames` of a clip: "any", or a rule
    such as "4k+1". `codebook_sizes` has an entry per code of a position (one stands for all), `coarser` the same for
    each grid of a hierarchy before the last, coarsest first; codes count from `first_code`. `topology` is that of
    latents with one axis. `knob` names the setting that decides the rate, with its value. `dtype` is the type that the
    weights are published in. `causal`: an earlier latent sees no later sample; `stochastic`: the decoder draws noise.
    """

    modalities: tuple[Modality, ...]
    range: tuple[float, float] = (-1.0, 1.0)
    rate: float | None = None
    channels: int | None = None
    multiple: int | tuple[int, ...] = 1
    pad: bool = False
    frames: str = "any"
    normaliser: Normaliser = field(default_factory=Normaliser)
    codebook_sizes: tuple[int, ...] = ()
    coarser: tuple[tuple[int, ...], ...] = ()
    first_code: int = 0
    topology: Topology = "grid"
    knob: str = ""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    licence: str = ""
    causal: bool = False
    stochastic: bool = False

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ValueError("modalities needs at least one entry")
        if not self.range[0] < self.range[1]:
            raise ValueError("range must ascend, as in [0.0, 1.0]")
        if self.frames != "any" and not _FRAMES.fullmatch(self.frames):
            raise ValueError(f"frames must be 'any' or a rule such as '4k+1', got {self.frames!r}")
        multiples = (self.multiple,) if isinstance(self.multiple, int) else self.multiple
        if not multiples or min(multiples) < 1:
            raise ValueError("multiple must be one or more whole numbers >= 1")

    def multiples(self, modality: Modality) -> tuple[int, ...]:
        """`multiple` per axis of such a signal. An entry per axis of a clip also serves images, without the first."""
        if isinstance(self.multiple, int):
            first = (1,) if modality is Modality.VIDEO else ()
            return (*first, *(self.multiple,) * (modality.rank - len(first)))
        return self.multiple[-modality.rank :] if len(self.multiple) >= modality.rank else self.multiple

    def padded(self, signal: SignalSpec) -> tuple[int, ...]:
        """The signal's shape as the model reads it."""
        if not self.pad:
            return signal.shape
        return tuple(-(-s // m) * m for s, m in zip(signal.shape, self.multiples(signal.modality), strict=True))

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        """Why such signals can't be encoded, with what could; None where they can."""
        if signal.modality not in self.modalities:
            return f"it is for {', '.join(self.modalities)}, not {signal.modality}"
        if self.channels is not None and signal.channels != self.channels:
            return f"it takes {self.channels} channels, not {signal.channels}: set data.channels"
        if signal.modality.is_audio and self.rate is not None and signal.rate != self.rate:
            return f"it works at {self.rate:g} Hz, not {signal.rate:g}: set data.sample_rate={self.rate:g}"
        multiples = self.multiples(signal.modality)
        if len(multiples) != signal.modality.rank:
            return f"multiple has {len(multiples)} entries, and {signal.modality} {signal.modality.rank} axes"
        if not self.pad:
            for axis, size, multiple in zip(signal.modality.axes, signal.shape, multiples, strict=True):
                if size % multiple:
                    sizes = [n for n in (size - size % multiple, size - size % multiple + multiple) if n]
                    near = " or ".join(map(str, sizes))
                    return f"{axis} {size} is no multiple of {multiple}; nearest: {near}"
        return self._frames_reason(signal)

    def _frames_reason(self, signal: SignalSpec) -> str | None:
        if self.frames == "any" or signal.modality is not Modality.VIDEO:
            return None
        counts = self.nearest_frames(signal.shape[0])
        if counts == (signal.shape[0],):
            return None
        near = " or ".join(map(str, counts))
        return (
            f"clips have {self.frames} frames, and {signal.shape[0]} would be cut or padded silently; nearest: {near}"
        )

    def nearest_frames(self, frames: int) -> tuple[int, ...]:
        """The number itself where the rule admits it, else the nearest ones below and above."""
        match = _FRAMES.fullmatch(self.frames)
        if match is None:
            return (frames,)
        step, first = int(match[1]), int(match[2] or 0)
        low = (frames - first) // step * step + first
        counts = (low, low + step) if low != frames else (frames,)
        return tuple(n for n in counts if n > 0)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What was seen of a tokenizer when it was loaded: its declaration and, for a signal, its latents' grids.

    A record holds no declaration, which follows from the files. `latents` is "posterior", "deterministic" or "codes";
    `flops` are those of encoding and decoding one sample; `state` is the digest of weights that files do not tell.
    """

    declaration: Declaration | None = None
    class_name: str = ""
    grids: tuple[LatentGrid, ...] = ()
    latents: str = ""
    parameters: int = 0
    flops: float = 0.0
    state: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Description:
        """The inverse of `to_json`."""
        return check(cls, data, where="description")


def declared(base: Declaration | None, table: Mapping[str, Any]) -> Declaration:
    """A declaration with a user's `table` laid over it.

    `modality` is a short form of `modalities`, and `normaliser` may have `scale` and `shift` in place of mean and
    deviation: (z - shift) scale. Raises UserError for what is no declaration.
    """
    own = dict(table)
    if "modality" in own:
        own["modalities"] = [own.pop("modality")]
    if isinstance(own.get("normaliser"), Mapping):
        own["normaliser"] = _normaliser(own["normaliser"])
    for key in ("codebook_sizes",):
        if isinstance(own.get(key), int):
            own[key] = [own[key]]
    merged = {**(asdict(base) if base is not None else {}), **own}
    if "modalities" not in merged:
        known = ", ".join(Modality)
        raise UserError(f"spec.modality: missing; say what it encodes ({known}), in a `spec` or with --spec FILE.toml")
    return check(Declaration, merged, where="spec")


def _normaliser(table: Mapping[str, Any]) -> dict[str, Any]:
    values = {"origin": "the user's spec", **table}
    if "scale" in values:
        scale = values.pop("scale")
        scales = scale if isinstance(scale, list | tuple) else [scale]
        if not all(isinstance(s, int | float) and not isinstance(s, bool) and s for s in scales):
            raise UserError(f"spec.normaliser.scale: expected numbers other than 0, got {scale!r}")
        values["std"] = [1.0 / s for s in scales]
    if "shift" in values:
        values["mean"] = values.pop("shift")
    for key in ("mean", "std"):
        if key in values:
            entries = values[key] if isinstance(values[key], list | tuple) else [values[key]]
            values[key] = [float(v) if isinstance(v, int) else v for v in entries]
    return values
