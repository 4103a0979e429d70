"""How many features each frozen target has, for plans, which have no torch."""

from __future__ import annotations

import math

from .spec import MelSpec, Modality, SignalSpec

ORIENTATIONS = 8
SCALES = 3
MELS = 32
ALEXNET = (64, 192, 384, 256, 256)
MOBILENET_V2 = 96  # after the last block of a 16th of the size
# Of YAMNet: samples of a frame at 16 kHz and between frames, mel bins, channels after the last layer of a 16th of the
# size, and how many bands of frequencies these are of.
YAMNET_RATE, YAMNET_WINDOW, YAMNET_HOP, YAMNET_BINS, YAMNET, YAMNET_BANDS = 16_000, 400, 160, 64, 512, 4
WAVELETS = 4  # orientations of the scattering
SOUND_BANDS = 4  # of frequencies, in which the scattering of a waveform's log-mel is averaged
FRAME_LAGS = (1, 2, 4)  # frames apart, whose differences it sees


def target_channels(name: str, modality: Modality) -> int:
    """Features per place of the target called `name`, which does not depend on the signal's shape."""
    if name == "alexnet":
        return sum(ALEXNET)
    if name == "mobilenet_v2":
        return MOBILENET_V2
    if name == "yamnet":
        return YAMNET * YAMNET_BANDS
    return MELS if modality is Modality.WAVEFORM else SCALES * (ORIENTATIONS + 2)


def octaves(height: int, width: int) -> int:
    """How many octaves a picture has: the coarsest keeps 8 pixels along the shorter side, and there are at most 3."""
    return max(1, min(3, int(math.log2(max(min(height, width), 1))) - 2))


def scattering_planes(signal: SignalSpec) -> int:
    """The planes of one picture (frame, log-mel) that the scattering sees."""
    return signal.channels + (len(FRAME_LAGS) if signal.modality is Modality.VIDEO else 0)


def scattering_channels(signal: SignalSpec) -> int:
    """Features per place of the scattering: planes, their moduli by octave, the luminance's moduli of moduli, planes.

    A waveform's are those of every band of frequencies.
    """
    planes, count = scattering_planes(signal), octaves(*picture_shape(signal)[-2:])
    maps = 2 * planes + count * planes * WAVELETS + count * (count - 1) // 2 * WAVELETS**2
    return maps * (SOUND_BANDS if signal.modality is Modality.WAVEFORM else 1)


def yamnet_frames(signal: SignalSpec, positions: int) -> tuple[int, int]:
    """Samples at 16 kHz between the frames that YAMNet sees of a waveform, and how many there are: 16 for each
    position, as the net halves four times, but none further apart than in its training."""
    samples = round(signal.shape[-1] * YAMNET_RATE / round(signal.rate or YAMNET_RATE))
    hop = max(1, min(YAMNET_HOP, samples // (16 * positions)))
    return hop, -(-samples // hop)


_LONGEST = 512  # samples of a mel frame


def mel_of(signal: SignalSpec, positions: int) -> MelSpec:
    """The mel energies of a waveform with about one frame per position; several where frames would leave gaps."""
    length = signal.shape[-1]
    hop = min(max(16, length // max(1, positions)), _LONGEST // 2)
    window = 2 ** math.ceil(math.log2(max(64, min(_LONGEST, 4 * hop))))
    return MelSpec(sample_rate=int(signal.rate or 16000), n_mels=MELS, n_fft=min(window, length), hop=hop)


def mel_front_end(signal: SignalSpec, mels: int = 64) -> MelSpec:
    """The log-mel that a net sees of waveforms: windows of about 64 ms (a power of two, no longer than the clip), a
    quarter apart, and `mels` bins (fewer where the window is too short to fill them)."""
    rate = round(signal.rate or 16_000)
    window = 2 ** round(math.log2(max(0.064 * rate, 16)))
    n_fft = min(window, max(2 ** int(math.log2(signal.shape[0])), 4))
    return MelSpec(sample_rate=rate, n_fft=n_fft, hop=n_fft // 4, n_mels=min(mels, max(n_fft // 16, 1)))


def picture_shape(signal: SignalSpec, mels: int = 64) -> tuple[int, ...]:
    """The axes of what a net sees: the signal's own, or those of a waveform's log-mel."""
    if signal.modality is not Modality.WAVEFORM:
        return signal.shape
    mel = mel_front_end(signal, mels)
    return (mel.n_mels, signal.shape[0] // mel.hop)


_YAMNET_LAYERS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512)  # channels, up to a 16th of the size
_YAMNET_HALVES = (1, 3, 5, 7)  # the layers that halve


def yamnet_flops(signal: SignalSpec, positions: int) -> float:
    """FLOPs of YAMNet's first twelve layers, and of its mel filters, on a waveform for so many positions."""
    high, wide = yamnet_frames(signal, positions)[1], YAMNET_BINS
    flops = 2.0 * high * wide * 257
    before = 1
    for number, channels in enumerate(_YAMNET_LAYERS, 1):
        if number in _YAMNET_HALVES:
            high, wide = -(-high // 2), -(-wide // 2)
        flops += 2.0 * high * wide * (9 * channels if number == 1 else (9 + channels) * before)
        before = channels
    return flops


def scattering_flops(signal: SignalSpec) -> float:
    """FLOPs of the scattering's contrasts and wavelets of 7 × 7, complex, and of a waveform's mel filters."""
    shape = picture_shape(signal)
    frames = shape[0] if signal.modality is Modality.VIDEO else 1
    high, wide = shape[-2:]
    planes, count = scattering_planes(signal), octaves(high, wide)
    flops = 2.0 * signal.channels**2 * high * wide
    for octave in range(count):
        seen = planes + octave * WAVELETS  # the luminance's moduli of every finer octave, too
        flops += 2.0 * seen * WAVELETS * 2 * 49 * high * wide
        high, wide = -(-high // 2), -(-wide // 2)
    if signal.modality is Modality.WAVEFORM:
        mel = mel_front_end(signal)
        flops += 2.0 * signal.channels * (mel.n_fft // 2 + 1) * mel.n_mels * (1 + signal.shape[0] // mel.hop)
    return flops * frames
