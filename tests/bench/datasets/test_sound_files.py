"""Samples, levels and lengths of the sound files that people have."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentbench.bench.datasets.audio import decode_audio_file
from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.media import EXTENSIONS
from latentbench.bench.datasets.source import Skip
from latentbench.tokenizers.spec import Modality

RATE = 16000
Make = Callable[..., Path]


def noise(n: int = 4 * RATE, *, seed: int = 0) -> np.ndarray:
    """`[n]` in [-0.5, 0.5], without much above 2 kHz, so that lossy codecs keep it."""
    wave = np.convolve(np.random.default_rng(seed).standard_normal(n), np.hanning(16), "same")
    return 0.5 * wave / np.abs(wave).max()


def tone(n: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(n) / RATE)


def read(path: Path, *, channels: int = 1, seconds: float = 0.1, **options: object) -> np.ndarray:
    """`[C, N]` in [-1, 1]: all whole segments of a file, joined."""
    config = DataConfig(
        source="folder",
        path="x",
        modality=Modality.WAVEFORM,
        sample_rate=RATE,
        seconds=seconds,
        channels=channels,
        per_file=100_000,
        **options,
    )  # type: ignore[arg-type]
    blocks = np.concatenate(list(decode_audio_file(path, config, np.random.default_rng(0))))
    return np.concatenate(list(blocks), axis=1) / 32768


def delay(wave: np.ndarray, reference: np.ndarray) -> int:
    n = len(wave)
    spectrum = np.fft.rfft(wave, 2 * n) * np.conj(np.fft.rfft(reference[:n], 2 * n))
    best = int(np.argmax(np.fft.irfft(spectrum)))
    return best if best < n else best - 2 * n


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(name, wave, codec)` encodes `[C, N]` through PyAV."""

    def write(
        name: str,
        wave: np.ndarray,
        codec: str,
        *,
        layout: str = "mono",
        rate: int = RATE,
        form: str | None = None,
        **muxer: str,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", format=form, options=muxer) as container:
            options = {"strict": "-2"} if codec == "vorbis" else {}
            stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
            stream.bit_rate = 128_000
            resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
            samples = np.round(wave * 32767).astype(np.int16)
            for start in range(0, wave.shape[1], 1024):
                part = np.ascontiguousarray(samples[:, start : start + 1024].T).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                for ready in resampler.resample(frame):
                    container.mux(stream.encode(ready))
            for ready in resampler.resample(None):
                container.mux(stream.encode(ready))
            container.mux(stream.encode(None))
        return path

    return write


def write_riff(
    path: Path,
    raw: bytes,
    channels: int = 1,
    *,
    code: int = 1,
    bits: int = 16,
    mask: int | None = None,
    riff: int | None = None,
    data: int | None = None,
    after: bytes = b"",
) -> Path:
    """A WAV file, by hand; `riff` and `data` are the sizes that it states."""
    align = channels * bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if mask is not None else code, channels, RATE, RATE * align, align, bits)
    if mask is not None:
        guid = bytes.fromhex("000000001000800000aa00389b71")
        head += struct.pack("<HHIH", 22, bits, mask, code) + guid
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(raw) if data is None else data) + raw + after
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body)
    return path


def s16(*channels: np.ndarray) -> bytes:
    return np.round(np.stack(channels, 1) * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("name", ["a.mp3 libmp3lame", "a.m4a aac", "a.m4a alac", "a.flac flac", "a.opus libopus"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sounds_begin_at_their_first_sample_at_their_level(name: str, channels: int, make: Make) -> None:
    wave = noise()
    sound = read(make(name.split()[0], wave[None], name.split()[1]), channels=channels)
    assert sound.shape == (channels, len(wave))
    for channel in sound:
        assert delay(channel, wave) == 0
        assert 20 * np.log10(channel.std() / wave.std()) == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [
        ("a.caf", "pcm_s16le", "mono"), ("a.mka", "flac", "mono"), ("a.w64", "pcm_s16le", "mono"),
        ("a.tta", "tta", "mono"), ("a.wv", "wavpack", "stereo"), ("a.ac3", "ac3", "mono"), ("a.mp2", "mp2", "mono"),
        ("a.weba", "libopus", "mono"), ("a.m4b", "aac", "mono"),
    ],
)  # fmt: skip
def test_other_containers(name: str, codec: str, layout: str, make: Make) -> None:
    assert Path(name).suffix in EXTENSIONS[Modality.WAVEFORM]
    wave, rate = noise(), 32000 if codec in ("ac3", "mp2") else RATE
    if rate > RATE:
        wave = np.interp(np.arange(2 * len(wave)) / 2, np.arange(len(wave)), wave)
    form = {"a.weba": "webm", "a.m4b": "mp4"}.get(name)
    waves = np.stack([wave] * (1 if layout == "mono" else 2))
    path = make(name, waves, codec, layout=layout, rate=rate, form=form)
    sound = read(path)[0]
    if codec in ("ac3", "mp2"):  # which do not state what the encoder put before
        assert len(sound) == pytest.approx(len(wave) // 2, abs=0.2 * RATE)
    else:
        assert len(sound) == len(wave)
        assert delay(sound, wave) == 0
        assert 20 * np.log10(sound.std() / wave.std()) == pytest.approx(0, abs=0.6)
    if codec in ("pcm_s16le", "tta", "wavpack"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with pytest.raises(Skip, match=r"^(cut short|damaged): "):
            read(path)


@pytest.mark.parametrize("mask", [None, 0, 1, 4, 8])
def test_mono_is_stereo_at_its_own_level(mask: int | None, tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", s16(tone()), mask=mask)
    for channels in (1, 2):
        np.testing.assert_allclose(read(path, channels=channels), np.stack([tone()] * channels), atol=1e-4)


@pytest.mark.parametrize("mask", [None, 0, 0x3, 0x5, 0x30, 0x600])
def test_stereo_is_stereo_whatever_its_channels_are_called(mask: int | None, tmp_path: Path) -> None:
    left, right = tone(), noise(RATE)
    path = write_riff(tmp_path / "a.wav", s16(left, right), 2, mask=mask)
    np.testing.assert_allclose(read(path, channels=2), [left, right], atol=1e-4)
    np.testing.assert_allclose(read(path)[0], (left + right) / 2, atol=2e-4)


@pytest.mark.parametrize("count", [9, 11, 13])
def test_channels_without_positions_are_averaged(count: int, tmp_path: Path) -> None:
    waves = [noise(RATE, seed=seed) for seed in range(count)]
    path = write_riff(tmp_path / "a.wav", s16(*waves), count)
    for channels in (1, 2):
        np.testing.assert_allclose(read(path, channels=channels), [np.mean(waves, 0)] * channels, atol=2e-4)


def test_surround_is_mixed_by_position(make: Make) -> None:
    # Left, right, centre, bass, back left, back right: 1, 1/sqrt 2 for the centre and the back, over their sum.
    total = 1 + 2 / np.sqrt(2)
    for place, (left, right) in enumerate([(1, 0), (0, 1), (0.5**0.5,) * 2, (0, 0), (0.5**0.5, 0), (0, 0.5**0.5)]):
        waves = np.zeros((6, RATE))
        waves[place] = tone()
        sound = read(make("a.flac", waves, "flac", layout="5.1"), channels=2)
        np.testing.assert_allclose(sound, np.outer([left / total, right / total], tone()), atol=3e-4)


@pytest.mark.parametrize(
    ("riff", "data"), [(0x7FFFF024, 0x7FFFF000), (0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (36, 0), (0x80000024, 0x80000000)]
)
def test_headers_of_programs_that_could_not_go_back(riff: int, data: int, tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", s16(tone()), riff=riff, data=data)
    np.testing.assert_allclose(read(path)[0], tone(), atol=1e-4)


def test_sizes_in_wave_files(tmp_path: Path) -> None:
    raw = s16(tone())
    with pytest.raises(Skip, match=r"cut short: 32044 of 42044 bytes are there"):
        read(write_riff(tmp_path / "a.wav", raw, data=len(raw) + 10_000, riff=len(raw) + 10_036))
    note = b"LIST" + struct.pack("<I", 100) + bytes(100)
    # A wrong size of the whole does no harm where that of the samples is right.
    path = write_riff(tmp_path / "b.wav", raw, after=note, riff=len(raw) + 5000)
    np.testing.assert_allclose(read(path)[0], tone(), atol=1e-4)
    with pytest.raises(Skip, match="empty: no sound in it"):
        read(write_riff(tmp_path / "c.wav", b"", after=note))


def test_rf64(tmp_path: Path) -> None:
    raw = s16(tone())
    path = write_riff(tmp_path / "a.wav", raw)
    long = b"ds64" + struct.pack("<IQQQI", 28, path.stat().st_size + 28, len(raw), RATE, 0)
    body = path.read_bytes().replace(struct.pack("<I", len(raw)) + raw[:8], b"\xff" * 4 + raw[:8])
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + long + body[12:])
    np.testing.assert_allclose(read(path)[0], tone(), atol=1e-4)
    path.write_bytes(path.read_bytes()[:-9000])
    with pytest.raises(Skip, match="cut short"):
        read(path)


@pytest.mark.parametrize(("bits", "kind"), [(32, "<f4"), (64, "<f8")])
@pytest.mark.parametrize(("value", "reason"), [(np.nan, "not numbers"), (np.inf, "not numbers"), (-2.0, "2 times")])
def test_floats_that_are_no_sound(bits: int, kind: str, value: float, reason: str, tmp_path: Path) -> None:
    wave = tone()
    path = write_riff(tmp_path / "a.wav", wave.astype(kind).tobytes(), code=3, bits=bits)
    np.testing.assert_allclose(read(path)[0], wave, atol=1e-4)
    wave[9000] = value
    with pytest.raises(Skip, match=reason):
        read(write_riff(tmp_path / "a.wav", wave.astype(kind).tobytes(), code=3, bits=bits))


def test_other_depths(tmp_path: Path) -> None:
    wave = tone()
    wide = np.round(wave * (2**31 - 1)).astype("<i4")
    three = np.frombuffer(wide.tobytes(), np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    for raw, bits in ((wide.tobytes(), 32), (three, 24)):
        np.testing.assert_allclose(read(write_riff(tmp_path / "a.wav", raw, bits=bits))[0], wave, atol=1e-4)
    raw = np.round(wave * 127 + 128).astype(np.uint8).tobytes()
    np.testing.assert_allclose(read(write_riff(tmp_path / "a.wav", raw, bits=8))[0], wave, atol=0.01)


def test_lengths_that_nobody_states(make: Make) -> None:
    # Silence, then noise: a guess from the first frames' bit rate is many times too long.
    wave = np.concatenate([np.zeros(8 * RATE), noise(2 * RATE)])
    for name, codec in (("a.aac", "aac"), ("a.mp3", "libmp3lame")):
        path = make(name, wave[None], codec, **({"write_xing": "0"} if codec != "aac" else {}))
        assert read(path).shape[1] / RATE == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.m4a", "alac"), ("a.opus", "libopus")],
)
@pytest.mark.parametrize("how", ["zeroed", "random"])
def test_damage_in_the_middle(name: str, codec: str, how: str, make: Make) -> None:
    path = make(name, noise()[None], codec)
    data = bytearray(path.read_bytes())
    # An MP3 frame has no checksum: its header, each 576 bytes, must be hit.
    size = 900 if codec == "libmp3lame" else 300
    hole = bytes(size) if how == "zeroed" else np.random.default_rng(0).bytes(size)
    data[len(data) // 2 : len(data) // 2 + size] = hole
    path.write_bytes(data)
    with pytest.raises(Skip, match=r"^(damaged|cut short): [^\n]*$"):
        read(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mka", "libopus"), ("a.webm", "libopus"), ("a.ogg", "libopus"), ("a.mka", "flac")]
)
def test_clocks_that_start_late(name: str, codec: str, make: Make) -> None:
    """Matroska's and Ogg's length is the last timestamp."""
    wave = noise()
    path = make(name, wave[None], codec, output_ts_offset="5")
    with av.open(str(path)) as container:
        assert container.start_time == pytest.approx(5_000_000, abs=50_000)
    sound = read(path)[0]
    assert len(sound) == len(wave)
    assert delay(sound, wave) == 0
    if name != "a.ogg":  # which states no length
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        with pytest.raises(Skip, match=r"^cut short: "):
            read(path)


def joined(first: Path, *others: Path) -> Path:
    first.write_bytes(b"".join(path.read_bytes() for path in (first, *others)))
    return first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a.opus", "libopus", "mono"), ("b.opus", "libopus", "mono")),
        (("a.opus", "libopus", "mono"), ("b.opus", "libopus", "stereo")),
        (("a.ogg", "vorbis", "stereo"), ("b.ogg", "vorbis", "stereo")),
        (("a.oga", "flac", "mono"), ("b.oga", "flac", "stereo")),
        (("a.opus", "libopus", "mono"), ("b.oga", "flac", "stereo")),
    ],
)
def test_chained_ogg(one: tuple[str, str, str], other: tuple[str, str, str], make: Make) -> None:
    wave = noise()
    parts = [wave[: 2 * RATE], wave[2 * RATE :]]
    paths = [
        make(name, np.stack([part] * (2 if layout == "stereo" else 1)), codec, layout=layout)
        for (name, codec, layout), part in zip((one, other), parts, strict=True)
    ]
    sound = read(joined(*paths))[0]
    assert len(sound) == len(wave)
    for place in (0, 2 * RATE):
        assert delay(sound[place : place + 2 * RATE], wave[place : place + 2 * RATE]) == 0


def test_streams_that_change_midway(make: Make) -> None:
    wave = noise(2 * RATE)
    plain = {"write_xing": "0", "id3v2_version": "0"}
    mono = make("a.mp3", wave[None], "libmp3lame", **plain)
    stereo = make("b.mp3", np.stack([wave] * 2), "libmp3lame", layout="stereo", **plain)
    assert read(joined(mono, stereo)).shape[1] / RATE == pytest.approx(4, abs=0.3)
    slow = make("c.aac", wave[None], "aac")
    fast = make("d.aac", wave[None], "aac", rate=32000)
    assert read(joined(slow, fast)).shape[1] / RATE == pytest.approx(3, abs=0.3)
    tagged = [make(f"{name}.mp3", wave[None], "libmp3lame") for name in "ef"]
    assert read(joined(*tagged)).shape[1] / RATE == pytest.approx(4, abs=0.3)


def test_short_sounds_are_padded_on_request(tmp_path: Path) -> None:
    path = write_riff(tmp_path / "a.wav", s16(tone(5000)))
    with pytest.raises(Skip, match=r"too short: 0.312 s for segments of 1.000 s"):
        read(path, seconds=1.0)
    sound = read(path, seconds=1.0, pad=True, channels=2)
    assert sound.shape == (2, RATE)
    np.testing.assert_allclose(sound[:, :5000], [tone(5000)] * 2, atol=1e-4)
    assert not sound[:, 5000:].any()
    # What is long enough is cut as without.
    long = write_riff(tmp_path / "b.wav", s16(tone(RATE + 5000)))
    np.testing.assert_array_equal(read(long, seconds=1.0, pad=True), read(long, seconds=1.0))


def test_pad_is_for_sounds_of_a_folder() -> None:
    for options in ({"source": "folder", "path": "x"}, {"modality": Modality.WAVEFORM}):
        with pytest.raises(ValueError, match="pad is for sounds of the sources 'folder', 'webdataset', 'parquet'"):
            DataConfig(pad=True, **options)  # type: ignore[arg-type]
    plain = DataConfig(source="folder", path="x", modality=Modality.WAVEFORM)
    padded = DataConfig(source="folder", path="x", modality=Modality.WAVEFORM, pad=True)
    assert padded.identity() == {**plain.identity(), "pad": True}
