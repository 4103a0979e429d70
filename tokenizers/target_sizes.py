"""How many features each frozen target has, for plans, which have no torch."""

from __future__ import annotations

from .spec import Modality

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
