"""The data of the degradation bench: real images, sounds and clips, and five kinds of damage at four strengths each.

All sets are integers (uint8 pictures `[N, C, *shape]`, int16 waveforms `[N, 1, samples]`), as files hold them, so that
no net sees what a file could not store. Everything random is seeded.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from latentbench.tokenizers.spec import Modality, SignalSpec

N, TRAIN = 256, 2048
Damage = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One data set: `reference` is damaged for r; `others` for g, which is measured against `train` (its `labels`, if
    any, are for nets that are trained on them)."""

    name: str
    signal: SignalSpec
    reference: np.ndarray
    others: np.ndarray
    train: np.ndarray
    kinds: Mapping[str, tuple[Damage, tuple[float, ...]]]
    labels: np.ndarray | None = None

    @property
    def conditions(self) -> list[tuple[str, float]]:
        """Every kind and strength, mild to strong."""
        return [(kind, strength) for kind, (_, strengths) in self.kinds.items() for strength in strengths]

    def sets(self, n: int = N, train: int = TRAIN) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
        """Names of all sets of `n` samples and what makes them: "reference", "others", "train", "r <kind> <strength>",
        "g <kind> <strength>"."""
        for role, clean, name in (("r", self.reference, "reference"), ("g", self.others, "others")):
            yield name, partial(_first, clean, n)
            for kind, strength in self.conditions:
                yield f"{role} {kind} {strength:g}", partial(self.kinds[kind][0], clean[:n], strength)
        yield "train", partial(_first, self.train, train)

    def to_float(self, x: np.ndarray) -> torch.Tensor:
        """The set as a net sees it: float32 in [-1, 1]."""
        t = torch.from_numpy(np.ascontiguousarray(x)).float()
        return t / 127.5 - 1 if x.dtype == np.uint8 else t / 32768


def _first(x: np.ndarray, n: int) -> np.ndarray:
    return x[:n]


def _split(x: np.ndarray) -> dict[str, np.ndarray]:
    """Independent thirds of shuffled samples: reference, others, train."""
    x = x[np.random.default_rng(0).permutation(len(x))]
    return {"reference": x[:N], "others": x[N : 2 * N], "train": x[2 * N : 2 * N + TRAIN]}


def _pixels(x: np.ndarray) -> np.ndarray:
    return np.clip(np.round(x), 0, 255).astype(np.uint8)


def pixel_noise(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian noise of `sigma` levels."""
    return _pixels(x + np.random.default_rng(1).normal(0, sigma, x.shape))


def blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of `sigma` pixels over the last two axes, edges reflected."""
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    t = torch.from_numpy(x).float().reshape(-1, 1, *x.shape[-2:])
    t = F.conv2d(F.pad(t, (radius,) * 4, "reflect"), kernel.view(1, 1, 1, -1))
    return _pixels(F.conv2d(t, kernel.view(1, 1, -1, 1)).reshape(x.shape).numpy())


def jpeg(x: np.ndarray, quality: float) -> np.ndarray:
    """JPEG at that quality, image by image."""
    out = np.empty_like(x)
    for i, image in enumerate(x):
        file = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=int(quality))
        out[i] = np.asarray(Image.open(file)).transpose(2, 0, 1)
    return out


def colour_cast(x: np.ndarray, levels: float) -> np.ndarray:
    """Red up by `levels`, green and blue down by half of it."""
    cast = np.array([levels, -levels / 2, -levels / 2]).reshape(1, 3, *[1] * (x.ndim - 2))
    return _pixels(x + cast)


def patch_shuffle(x: np.ndarray, swaps: float) -> np.ndarray:
    """`swaps` pairs of the 16 patches of each image change places."""
    n, c, h, w = x.shape
    patches = x.reshape(n, c, 4, h // 4, 4, w // 4).transpose(0, 2, 4, 1, 3, 5).reshape(n, 16, c, h // 4, w // 4)
    patches = _swap(patches, swaps).reshape(n, 4, 4, c, h // 4, w // 4)
    return np.ascontiguousarray(patches.transpose(0, 3, 1, 4, 2, 5).reshape(x.shape))


def _swap(pieces: np.ndarray, swaps: float) -> np.ndarray:
    """`[N, pieces, ...]` with random pairs of pieces exchanged in every sample."""
    random = np.random.default_rng(2)
    out = pieces.copy()
    for sample in out:
        for _ in range(int(swaps)):
            pair = random.choice(len(sample), 2, replace=False)
            sample[pair] = sample[pair[::-1]]
    return out


def _sound(x: np.ndarray) -> np.ndarray:
    return np.clip(np.round(x), -32768, 32767).astype(np.int16)


def sound_noise(x: np.ndarray, snr: float) -> np.ndarray:
    """White noise at `snr` decibels under each sound's own power."""
    power = np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True)) * 10 ** (-snr / 20)
    return _sound(x + power * np.random.default_rng(3).normal(size=x.shape))


def low_pass(x: np.ndarray, share: float) -> np.ndarray:
    """Nothing left above `share` of the Nyquist frequency."""
    spectrum = np.fft.rfft(x.astype(np.float64))
    spectrum[..., round(share * (spectrum.shape[-1] - 1)) :] = 0
    return _sound(np.fft.irfft(spectrum, x.shape[-1]))


def clipping(x: np.ndarray, decibels: float) -> np.ndarray:
    """Peaks cut off at `decibels` under each sound's own greatest level."""
    limit = np.abs(x.astype(np.float64)).max(-1, keepdims=True) * 10 ** (-decibels / 20)
    return _sound(np.clip(x, -limit, limit))


def time_shuffle(x: np.ndarray, swaps: float) -> np.ndarray:
    """`swaps` pairs of the 16 parts of each sound change places."""
    n, c, samples = x.shape
    return _swap(x.reshape(n, 16, samples // 16), swaps).reshape(n, c, samples)


def opus(rate: int) -> Damage:
    """Opus at so many kbit/s: all sounds in one stream, cut apart again."""

    def damage(x: np.ndarray, kilobits: float) -> np.ndarray:
        file = io.BytesIO()
        with av.open(file, "w", format="ogg") as output:
            stream = output.add_stream("libopus", rate=rate, layout="mono")
            stream.bit_rate = int(kilobits * 1000)
            samples = np.append(x.reshape(1, -1), np.zeros((1, rate // 2), np.int16), 1)
            for start in range(0, samples.shape[1], rate):
                frame = av.AudioFrame.from_ndarray(samples[:, start : start + rate], format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        file.seek(0)
        back = av.AudioResampler(format="s16", layout="mono", rate=rate)
        with av.open(file) as source:
            frames = [f.to_ndarray() for frame in source.decode(audio=0) for f in back.resample(frame)]
            frames += [f.to_ndarray() for f in back.resample(None)]
        return np.concatenate(frames, 1)[0, : x.size].reshape(x.shape)

    return damage


def h264(x: np.ndarray, crf: float) -> np.ndarray:
    """H.264 at that constant rate factor: all clips in one stream, each begun by a key frame."""
    n, c, frames, h, w = x.shape
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        stream.options = {"crf": f"{crf:g}", "preset": "veryfast", "threads": "1"}
        stream.options |= {"x264-params": f"keyint={frames}:min-keyint={frames}:scenecut=0:bframes=0"}
        for picture in x.transpose(0, 2, 3, 4, 1).reshape(n * frames, h, w, c):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        out = np.stack([frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)])
    return np.ascontiguousarray(out.reshape(n, frames, h, w, c).transpose(0, 4, 1, 2, 3))


def frame_shuffle(x: np.ndarray, swaps: float) -> np.ndarray:
    """`swaps` pairs of each clip's frames change places."""
    return np.ascontiguousarray(_swap(x.swapaxes(1, 2), swaps).swapaxes(1, 2))


def flicker(x: np.ndarray, sigma: float) -> np.ndarray:
    """Every frame brighter or darker by a Gaussian number of levels."""
    n, _, frames = x.shape[:3]
    return _pixels(x + np.random.default_rng(4).normal(0, sigma, (n, 1, frames, 1, 1)))


_IMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "noise": (pixel_noise, (4, 10, 20, 40)),
    "blur": (blur, (0.5, 0.8, 1.2, 2.0)),
    "JPEG": (jpeg, (90, 50, 25, 8)),
    "colour cast": (colour_cast, (6, 15, 30, 60)),
    "patch shuffle": (patch_shuffle, (1, 2, 4, 8)),
}
_CLIPS: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "noise": (pixel_noise, (4, 10, 20, 40)),
    "blur": (blur, (0.5, 0.8, 1.2, 2.0)),
    "H.264": (h264, (24, 30, 36, 42)),
    "frame shuffle": (frame_shuffle, (1, 2, 4, 8)),
    "flicker": (flicker, (3, 6, 12, 24)),
}


def _sounds(rate: int) -> dict[str, tuple[Damage, tuple[float, ...]]]:
    return {
        "noise": (sound_noise, (40, 30, 20, 10)),
        "low-pass": (low_pass, (0.8, 0.6, 0.4, 0.2)),
        "Opus": (opus(rate), (24, 16, 10, 6)),
        "clipping": (clipping, (6, 12, 18, 24)),
        "time shuffle": (time_shuffle, (1, 2, 4, 8)),
    }


def cifar10(data: Path) -> Bench:
    """CIFAR-10's test images."""
    with lzma.open(data / "images/cifar10/test_batch.bin.xz") as file:
        rows = np.frombuffer(file.read(), np.uint8).reshape(-1, 3073)
    parts, labels = _split(rows[:, 1:].reshape(-1, 3, 32, 32)), _split(rows[:, 0])["train"]
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
    return Bench(name="CIFAR-10", signal=signal, kinds=_IMAGES, labels=labels, **parts)


def kodak(data: Path) -> Bench:
    """Crops of 64 x 64 of Kodak's photographs."""
    crops = []
    for path in sorted((data / "images/kodak").glob("*.png")):
        image = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        h, w = image.shape[1] // 64, image.shape[2] // 64
        crops.append(image.reshape(3, h, 64, w, 64).transpose(1, 3, 0, 2, 4).reshape(-1, 3, 64, 64))
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(64, 64))
    return Bench(name="Kodak crops", signal=signal, kinds=_IMAGES, **_split(np.concatenate(crops)))


def digits(data: Path) -> Bench:
    """A second of speech at 8 kHz: random spoken digits of one speaker in a row. No digit is in two of the sets."""
    random, parts = np.random.default_rng(0), {}
    for role, takes, n in (("reference", "01", N), ("others", "23", N), ("train", "45", TRAIN)):
        rows = np.zeros((n, 1, 8000), np.int16)
        speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
        for row in rows:
            speaker, at = random.choice(speakers), 0
            while at < row.shape[1]:
                name = f"{random.integers(10)}_{speaker}_{random.choice(list(takes))}.wav"
                sound = _decode(data / "audio/fsdd/recordings" / name, 8000)[: row.shape[1] - at]
                row[0, at : at + len(sound)] = sound
                at += len(sound) + 400
        parts[role] = rows
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(8000,), rate=8000.0)
    return Bench(name="spoken digits", signal=signal, kinds=_sounds(8000), **parts)


def music(data: Path) -> Bench:
    """Seconds of instruments, drums and loops at 16 kHz: windows that start anywhere; short sounds end in silence."""
    random = np.random.default_rng(0)
    sounds = [_decode(path, 16_000) for path in sorted((data / "audio/sonic_pi").glob("*.flac"))]
    rows = np.zeros((2 * N + TRAIN, 1, 16_000), np.int16)
    for row in rows:
        sound = sounds[random.integers(len(sounds))]
        start = random.integers(max(len(sound) - 16_000, 0) + 1)
        piece = sound[start : start + 16_000]
        at = random.integers(16_000 - len(piece) + 1)
        row[0, at : at + len(piece)] = piece
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(16_000,), rate=16_000.0)
    return Bench(name="instruments", signal=signal, kinds=_sounds(16_000), **_split(rows))


@cache
def _decode(path: Path, rate: int) -> np.ndarray:
    """A file's sound, mono int16 at `rate`."""
    back = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with av.open(str(path)) as file:
        frames = [f.to_ndarray() for frame in file.decode(audio=0) for f in back.resample(frame)]
    return np.concatenate([*frames, *(f.to_ndarray() for f in back.resample(None))], 1)[0]


def bunny(data: Path) -> Bench:
    """Clips of Big Buck Bunny: 16 frames at 24 a second, 64 x 64, the left and the right of the picture."""
    clips = []
    for path in sorted((data / "video/big_buck_bunny").glob("*.mp4")):
        with av.open(str(path)) as file:
            frames = np.stack([f.to_ndarray(format="rgb24", width=114, height=64) for f in file.decode(video=0)])
        whole = frames[: len(frames) // 16 * 16].reshape(-1, 16, 64, 114, 3).transpose(0, 4, 1, 2, 3)
        clips += [whole[..., :64], whole[..., -64:]]
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(16, 64, 64), rate=24.0)
    return Bench(name="Big Buck Bunny", signal=signal, kinds=_CLIPS, **_split(np.concatenate(clips)))


BENCHES = {"cifar10": cifar10, "kodak": kodak, "digits": digits, "music": music, "bunny": bunny}
