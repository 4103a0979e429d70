"""How many features each frozen target has, for plans, which have no torch."""

from __future__ import annotations

import math

from .spec import MelSpec, Modality, SignalSpec

ORIENTATIONS = 8
SCALES = 3
MELS = 32
ALEXNET = (64, 192, 384, 256, 256)
MOBILENET_V2 = 96  # after the last block of a 16th of the size


def target_channels(name: str, modality: Modality) -> int:
    """Features per place of the target called `name`."""
    if name == "alexnet":
        return sum(ALEXNET)
    if name == "mobilenet_v2":
        return MOBILENET_V2
    return MELS if modality is Modality.WAVEFORM else SCALES * (ORIENTATIONS + 2)


_LONGEST = 512  # samples of a mel frame


def mel_of(signal: SignalSpec, positions: int) -> MelSpec:
    """The mel energies of a waveform with about one frame per position; several where frames would leave gaps."""
    length = signal.shape[-1]
    hop = min(max(16, length // max(1, positions)), _LONGEST // 2)
    window = 2 ** math.ceil(math.log2(max(64, min(_LONGEST, 4 * hop))))
    return MelSpec(sample_rate=int(signal.rate or 16000), n_mels=MELS, n_fft=min(window, length), hop=hop)
