"""What log-mel spectrogram a vocoder of somebody else's reads, beside the data set's. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...tokenizers.spec import MelSpec


@dataclass(frozen=True, kw_only=True)
class MelConvention:
    """A log-mel spectrogram: frames of `n_fft` samples under a Hann window, `hop` apart, at `sample_rate` Hz.

    `n_mels` filters on the `scale` of HTK or Slaney, from `f_min` to `f_max` Hz (None: half the rate), of unit height
    ("none") or unit area ("slaney"), of magnitudes (`power` 1) or powers (2). Of what they let through, at least
    `floor`, the logarithm is natural, decimal, or in decibels. `centred` frames lie around multiples of `hop`; others,
    padded by (n_fft - hop) / 2 as HiFi-GAN's, half a hop later.
    """

    sample_rate: int
    n_mels: int
    n_fft: int
    hop: int
    f_min: float = 0.0
    f_max: float | None = None
    scale: Literal["htk", "slaney"] = "htk"
    norm: Literal["none", "slaney"] = "none"
    power: Literal[1, 2] = 2
    log: Literal["ln", "log10", "db"] = "ln"
    floor: float = 1e-10
    centred: bool = True

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_mels", "n_fft", "hop"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.f_min < self.highest <= self.sample_rate / 2:
            raise ValueError(f"f_min and f_max must be ordered and at most {self.sample_rate / 2:g} Hz")
        if self.floor <= 0:
            raise ValueError("floor must be positive")

    @property
    def highest(self) -> float:
        """Where the last filter ends, in Hz."""
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    def unlike_frames(self, mel: MelSpec) -> tuple[str, ...]:
        """Where its frames are not those of `mel`, which nothing mends: "hop 160, not 256"."""
        return _differences(
            [(name, getattr(self, name), getattr(mel, name)) for name in ("sample_rate", "n_fft", "hop")]
        )

    def unlike_filters(self, mel: MelSpec) -> tuple[str, ...]:
        """Where its filters let something else through than those of `mel` do, but for each one's height."""
        f_max = mel.sample_rate / 2 if mel.f_max is None else mel.f_max
        pairs: list[tuple[str, Any, Any]] = [
            ("n_mels", self.n_mels, mel.n_mels),
            ("f_min", self.f_min, mel.f_min),
            ("f_max", self.highest, f_max),
            ("scale", self.scale, "htk"),
            ("power", self.power, 2),
        ]
        return _differences(pairs)


def _differences(pairs: list[tuple[str, Any, Any]]) -> tuple[str, ...]:
    return tuple(f"{name} {_number(own)}, not {_number(other)}" for name, own, other in pairs if own != other)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
