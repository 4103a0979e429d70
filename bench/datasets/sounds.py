"""Structure for sounds: a few events of one class with envelopes. Numpy alone.

Shape legend: B samples, C channels, N samples in time, K events in a sound.
"""

from __future__ import annotations

import numpy as np

CLASSES = ("note", "chirp", "pulses", "warble")
MOST = 3
# Uniform numbers a sound is made from: class, count, then per event: onset, duration, pitch, colour, depth, level, pan.
PER_EVENT = 7
UNIFORMS = 2 + MOST * PER_EVENT
_HARMONICS = 6
_PERIOD = 64  # samples that hold whole periods of every steady pitch
_TWO_PI = np.float32(2 * np.pi)


def labels(u: np.ndarray) -> np.ndarray:
    """The class of each sound, int64 `[B]`, from its uniform numbers `[B, UNIFORMS]`."""
    return np.minimum((u[:, 0] * len(CLASSES)).astype(np.int64), len(CLASSES) - 1)


def draw(
    u: np.ndarray, length: int, rate: int, channels: int, *, most: int = MOST, steady: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Structure `[B, C, N]` float32 in [-1, 1] and its mask in time `[B, N]` bool: outside it the structure is 0.

    One to `most` (at most three) events of the sound's class, each 0.25 to 0.7 of the clip long, with a raised-cosine
    envelope. With `steady` pitches are multiples of rate / 64 that share one phase, and nothing glides.
    """
    u = u.astype(np.float32)
    label, n = labels(u), len(u)
    count = 1 + np.minimum((u[:, 1] * most).astype(np.int64), most - 1)
    time = np.arange(length, dtype=np.float32) / np.float32(rate)
    structure = np.zeros((n, channels, length), np.float32)
    mask = np.zeros((n, length), bool)
    for k in range(most):
        rows = np.flatnonzero(count > k)
        if not len(rows):
            continue
        own = u[rows, 2 + k * PER_EVENT : 2 + (k + 1) * PER_EVENT]
        seconds = (np.float32(0.25) + np.float32(0.45) * own[:, 1:2]) * np.float32(length / rate)
        onset = own[:, 0:1] * (np.float32(length / rate) - seconds)
        t = time[None] - onset
        envelope = _envelope(t, seconds)
        wave = np.empty_like(envelope)
        for kind, name in enumerate(CLASSES):
            chosen = label[rows] == kind
            if chosen.any():
                if steady:
                    wave[chosen] = _steady(name, time, t[chosen], seconds[chosen], own[chosen], rate)
                else:
                    wave[chosen] = _WAVE[name](t[chosen], seconds[chosen], own[chosen], rate)
        wave *= envelope * (np.float32(0.12) + np.float32(0.18) * own[:, 5:6])
        structure[rows] += _pan(own[:, 6], channels)[:, :, None] * wave[:, None]
        mask[rows] |= envelope > 0
    return structure, mask


def _envelope(t: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Rises over 8 % of the event and falls over its last 40 %; 0 outside it."""
    rise = np.clip(t / (np.float32(0.08) * seconds), 0, 1)
    fall = np.clip((seconds - t) / (np.float32(0.4) * seconds), 0, 1)
    ramp = rise * fall
    return ramp * ramp * (3 - 2 * ramp)


def _pan(u: np.ndarray, channels: int) -> np.ndarray:
    if channels == 1:
        return np.ones((len(u), 1), np.float32)
    left = np.float32(0.5) + np.float32(0.5) * u
    return np.stack([left, np.float32(1.5) - left], axis=1)


def _pitch(u: np.ndarray, low: float, high: float, rate: int) -> np.ndarray:
    """Log-uniform in [low, high] Hz, both at most a tenth of the rate."""
    top = min(high, rate / 10)
    bottom = min(low, top / 2)
    return (bottom * (top / bottom) ** u).astype(np.float32)


def _note(t: np.ndarray, seconds: np.ndarray, u: np.ndarray, rate: int) -> np.ndarray:
    pitch = _pitch(u[:, 2:3], 110, 880, rate)
    total, norm = np.zeros_like(t), np.zeros_like(pitch)
    decay = np.float32(0.4) + np.float32(0.45) * u[:, 3:4]
    phase = _TWO_PI * pitch * t
    for h in range(1, _HARMONICS + 1):
        level = decay ** (h - 1) * (h * pitch < 0.45 * rate)
        total += level * np.sin(h * phase)
        norm += level
    return total / norm * np.float32(1.4)


def _chirp(t: np.ndarray, seconds: np.ndarray, u: np.ndarray, rate: int) -> np.ndarray:
    start = _pitch(u[:, 2:3], 150, 900, rate)
    octaves = (np.float32(0.7) + np.float32(1.3) * u[:, 4:5]) * np.where(u[:, 3:4] < 0.5, -1, 1).astype(np.float32)
    sweep = start * (np.exp2(octaves) - 1) / (2 * seconds)
    return np.sin(_TWO_PI * (start * t + sweep * t * t))


def _pulses(t: np.ndarray, seconds: np.ndarray, u: np.ndarray, rate: int) -> np.ndarray:
    ring = _pitch(u[:, 2:3], 500, 2500, rate)
    number = 3 + np.floor(u[:, 4:5] * 6)
    since = np.mod(t, (seconds / number).astype(np.float32))
    damping = (np.float32(4) + np.float32(6) * u[:, 3:4]) / ring
    return np.float32(2) * np.exp(-since / damping) * np.sin(_TWO_PI * ring * since)


def _warble(t: np.ndarray, seconds: np.ndarray, u: np.ndarray, rate: int) -> np.ndarray:
    pitch = _pitch(u[:, 2:3], 200, 1000, rate)
    swings = np.float32(3) + np.float32(5) * u[:, 3:4]
    speed = swings / seconds
    depth = (np.float32(0.05) + np.float32(0.1) * u[:, 4:5]) * pitch / speed
    return np.sin(_TWO_PI * pitch * t + depth * np.sin(_TWO_PI * speed * t))


def _steady(name: str, time: np.ndarray, t: np.ndarray, seconds: np.ndarray, u: np.ndarray, rate: int) -> np.ndarray:
    """A sound of the class without glides: a note; a leap of an octave (chirp); a note that beats (pulses); a sine
    whose loudness swings (warble). Its phase is that of the clip's `time` `[N]`, so that 64 samples hold whole periods
    and patches of as many see each pitch in one phase."""
    pitch = np.float32(rate / _PERIOD) * (1 + np.floor(u[:, 2:3] * 6))
    part = t / seconds
    if name == "chirp":
        pitch = pitch * np.where((part < 0.5) == (u[:, 3:4] < 0.5), 1, 2)
    phase = _TWO_PI * pitch * time
    decay = np.float32(0.4) + np.float32(0.45) * u[:, 3:4]
    total, norm = np.sin(phase), np.ones_like(pitch)
    if name in ("note", "pulses"):
        for h in range(2, _HARMONICS + 1):
            level = decay ** (h - 1) * (h * pitch < 0.45 * rate)
            total += level * np.sin(h * phase)
            norm = norm + level
    if name in ("pulses", "warble"):
        swing = np.float32(1 if name == "pulses" else 0.6)
        beats = 2 + np.floor(u[:, 4:5] * 3)
        total *= 1 - swing * (np.float32(0.5) + np.float32(0.5) * np.cos(_TWO_PI * beats * part))
    return total / norm * np.float32(1.4 if name in ("note", "pulses") else 1.0)


_WAVE = {"note": _note, "chirp": _chirp, "pulses": _pulses, "warble": _warble}
