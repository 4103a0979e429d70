from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, fingerprint, open_dataset, shapes
from latentbench.bench.datasets.procedural import classes, parts
from latentbench.bench.datasets.texture import TEXTURE
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.spec import Modality

CPU = torch.device("cpu")
GEOMETRY = {"frames": 4, "seconds": 0.256, "sample_rate": 8000, "n_fft": 256, "hop": 64, "n_mels": 32}


def config(modality: Modality, **options: object) -> DataConfig:
    return DataConfig(modality=modality, **{**GEOMETRY, "samples": 40, "val": 10, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("modality", list(Modality))
def test_a_sample_depends_on_seed_split_and_index_alone(modality: Modality) -> None:
    one = parts(config(modality), "train", np.array([7, 3, 11]))
    other = parts(config(modality, samples=5000, val=9), "train", 3)
    assert np.array_equal(one.signal[1], other.signal[0])
    assert one.label[1] == other.label[0]
    assert not np.array_equal(other.signal, parts(config(modality), "val", 3).signal)
    assert not np.array_equal(other.signal, parts(config(modality, seed=1), "train", 3).signal)


@pytest.mark.parametrize("modality", list(Modality))
def test_signal_is_structure_plus_texture(modality: Modality) -> None:
    drawn = parts(config(modality), "train", np.arange(40))
    np.testing.assert_array_equal(drawn.signal, np.clip(drawn.structure + drawn.texture, -1, 1))
    assert np.abs(drawn.structure).max() <= 1
    assert drawn.texture.std() == pytest.approx(TEXTURE[modality].amplitude, rel=0.1)
    # Clipping is rare, so that the texture's statistics are in the signal.
    assert (np.abs(drawn.structure + drawn.texture) > 1).mean() < 0.005
    assert set(drawn.label) == set(range(len(classes(modality))))


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO])
def test_masks_match_the_shapes(modality: Modality) -> None:
    drawn = parts(config(modality), "train", np.arange(40))
    background = (
        np.median(drawn.structure[..., 0], axis=-1) if modality is Modality.IMAGE else drawn.structure[..., 0, 0]
    )
    assert drawn.mask.shape == (40, *drawn.signal.shape[2:])
    assert 0.03 < drawn.mask.mean() < 0.5
    if modality is Modality.IMAGE:
        # The background is the colour of most unmasked pixels; masked ones differ from it.
        for i in range(40):
            outside = drawn.structure[i][:, ~drawn.mask[i]]
            colour = np.median(outside, axis=1)
            inside = np.abs(drawn.structure[i] - colour[:, None, None]).max(0)
            assert (inside[drawn.mask[i]] > 0.1).mean() > 0.98
            assert (inside[~drawn.mask[i]] < 1e-6).mean() > 0.6
    else:
        assert background.shape[0] == 40
        moved = [i for i in range(40) if not np.array_equal(drawn.mask[i, 0], drawn.mask[i, -1])]
        assert len(moved) >= 38


def test_sound_is_silent_outside_its_mask() -> None:
    drawn = parts(config(Modality.WAVEFORM, channels=2), "train", np.arange(40))
    assert drawn.mask.shape == (40, 2048)
    outside = drawn.structure.transpose(0, 2, 1)[~drawn.mask]
    assert np.abs(outside).max() == 0
    assert 0.2 < drawn.mask.mean() < 0.95
    assert np.abs(drawn.structure.transpose(0, 2, 1)[drawn.mask]).mean() > 0.03


def test_classes_differ_in_their_spectra() -> None:
    drawn = parts(config(Modality.WAVEFORM, seconds=0.512), "train", np.arange(200))
    spectra = np.abs(np.fft.rfft(drawn.structure[:, 0])) ** 2
    flatness = np.exp(np.log(spectra + 1e-9).mean(1)) / spectra.mean(1)
    by_class = [np.median(flatness[drawn.label == k]) for k in range(len(classes(Modality.WAVEFORM)))]
    names = dict(zip(classes(Modality.WAVEFORM), by_class, strict=True))
    assert names["note"] < names["pulses"]


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", np.pi),
        ("square", 1.7**2),
        ("triangle", 3 * np.sqrt(3) * 0.6**2),
        ("ring", np.pi * (1.05**2 - 0.55**2)),
        ("bars", 2 * 0.6 * 2),
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.11])
def test_shapes_have_their_areas(name: str, area: float, angle: float) -> None:
    u = np.full((1, shapes.UNIFORMS), 0.5)
    u[0, :2] = (shapes.CLASSES.index(name) + 0.5) / len(shapes.CLASSES), 0.0
    u[0, 5 + 3] = angle
    radius = 0.36 * (1.35 - 0.175)
    structure, mask = shapes.draw(u, 1, (256, 256))
    # Areas in units of radius^2; the frame is 2 x 2.
    assert mask.mean() * 4 == pytest.approx(area * radius**2, rel=0.02)
    assert structure.shape == (1, 3, 1, 256, 256)


@pytest.mark.parametrize("sides", [(128, 256), (256, 128)])
def test_shapes_stay_round_in_a_frame_that_is_no_square(sides: tuple[int, int]) -> None:
    """The short side is the unit; places are spread over the whole frame."""
    u = np.full((1, shapes.UNIFORMS), 0.5)
    u[0, :2] = 0.1, 0.0
    _, mask = shapes.draw(u, 1, sides)
    high, wide = (np.flatnonzero(mask[0, 0].any(axis)) for axis in (1, 0))
    assert np.ptp(high) == np.ptp(wide)
    assert mask.mean() * 8 == pytest.approx(np.pi * (0.36 * (1.35 - 0.175)) ** 2, rel=0.02)
    u[0, 5:7] = 0.9, 0.9
    _, mask = shapes.draw(u, 1, sides)
    for axis, side in ((1, sides[0]), (0, sides[1])):
        assert np.flatnonzero(mask[0, 0].any(axis)).mean() == pytest.approx(0.74 * side, abs=1)


def test_shapes_move_at_constant_velocity() -> None:
    u = np.full((1, shapes.UNIFORMS), 0.5)
    u[0, :2] = 0.05, 0.0
    u[0, 5 + 7] = 1.0
    _, mask = shapes.draw(u, 6, (128, 128))
    x = [np.flatnonzero(frame.any(0)).mean() for frame in mask[0]]
    y = [np.flatnonzero(frame.any(1)).mean() for frame in mask[0]]
    # 0.6 of the half frame over the clip, in six frames.
    assert np.diff(x) == pytest.approx(np.full(5, 0.6 / 6 * 64), abs=1.0)
    assert np.ptp(y) <= 1


@pytest.mark.parametrize("modality", list(Modality))
def test_opened_data_set_holds_the_parts(modality: Modality, cache: Path) -> None:
    options = config(modality)
    data = open_dataset(options, cache=cache)
    assert (len(data.train), len(data.val)) == (40, 10)
    assert data.counts == {"train": 40, "val": 10}
    assert data.classes == classes(modality)
    assert data.fingerprint == fingerprint(options, cache=cache)
    indices = np.array([5, 0, 39])
    drawn = parts(options, "train", indices)
    signal, source = data.train.batch(indices, CPU), data.train.sources(indices, CPU)
    assert signal.shape == (3, data.signal.channels, *data.signal.shape)
    assert signal.dtype == torch.float32
    step = 1 / 32768 if modality.is_audio else 1 / 127.5
    np.testing.assert_allclose(source.numpy(), drawn.signal, atol=step * 0.51 + 1e-7)
    if modality is Modality.SPECTROGRAM:
        assert data.signal.mel is not None
        torch.testing.assert_close(signal, LogMel(data.signal.mel)(source))
    else:
        assert torch.equal(signal, source)
    assert data.train.labels is not None
    assert data.train.labels[indices].tolist() == drawn.label.tolist()


def test_spectrogram_shares_the_waveforms_entry(cache: Path) -> None:
    wave = open_dataset(config(Modality.WAVEFORM), cache=cache)
    mel = open_dataset(config(Modality.SPECTROGRAM), cache=cache)
    assert len(list((cache / "datasets").glob("*/meta.json"))) == 1
    assert wave.fingerprint != mel.fingerprint


@pytest.mark.parametrize("modality", list(Modality))
def test_texture_is_scaled_and_the_structure_stays(modality: Modality) -> None:
    indices = np.arange(20)
    whole, faint, none = (parts(config(modality, texture=t), "val", indices) for t in (1.0, 0.05, 0.0))
    np.testing.assert_allclose(faint.texture, whole.texture * 0.05, rtol=1e-5)
    assert not none.texture.any()
    for other in (faint, none):
        assert np.array_equal(other.structure, whole.structure)
        assert np.array_equal(other.label, whole.label)


@pytest.mark.parametrize("modality", list(Modality))
def test_one_object_each(modality: Modality) -> None:
    """The first object of a sample is that of the same sample among one to three, where it is the only one."""
    indices = np.arange(60)
    three, one = (parts(config(modality, objects=n), "train", indices) for n in (3, 1))
    assert np.array_equal(three.label, one.label)
    same = (three.structure == one.structure).reshape(60, -1).all(axis=1)
    assert 10 <= same.sum() <= 30  # a third
    assert one.mask.reshape(60, -1).any(axis=1).all()
    plain = (
        parts(config(modality, objects=1, complexity="mixed"), "train", indices).mask[1::2].reshape(30, -1).any(axis=1)
    )
    assert plain.all() if modality.is_audio else not plain.any()


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO])
def test_a_class_has_its_colour_on_one_background(modality: Modality) -> None:
    indices = np.arange(40)
    drawn = parts(config(modality, colours="class"), "train", indices)
    assert np.array_equal(drawn.mask, parts(config(modality), "train", indices).mask)
    pixels = np.moveaxis(drawn.structure, 1, -1)
    corners = pixels.reshape(40, -1, 3)[:, 0]
    background = np.float32([-0.8, -0.8, -0.7])
    assert (np.abs(corners - background).max(axis=1) < 1e-6).mean() > 0.8
    for label in range(5):
        brightest = pixels[drawn.label == label].reshape(-1, 3)
        brightest = brightest[np.abs(brightest - background).max(axis=1).argsort()[-20:]]
        assert np.ptp(brightest, axis=0).max() < 1e-5  # one colour
        assert np.abs(brightest[0] - background).max() > 0.8


def test_steady_sounds_repeat_every_64_samples_but_for_their_loudness() -> None:
    """At one place within 64 samples, a note's wave is the same all over the sound, up to its envelope's factor."""
    settings = config(Modality.WAVEFORM, pitches="steady", objects=1)
    drawn = parts(settings, "train", np.arange(60))
    assert np.abs(drawn.structure).max() <= 1
    assert np.array_equal(drawn.label, parts(config(Modality.WAVEFORM), "train", np.arange(60)).label)
    for wave, mask in zip(drawn.structure[drawn.label == 0, 0], drawn.mask[drawn.label == 0], strict=True):
        length = len(wave) // 64 * 64
        whole = mask[:length].reshape(-1, 64).all(axis=1)
        frames = wave[:length].reshape(-1, 64)[whole]
        _, strengths, _ = np.linalg.svd(frames, full_matrices=False)
        assert strengths[0] ** 2 / (strengths**2).sum() > 0.95


@pytest.mark.parametrize("modality", list(Modality))
def test_mixed_complexity_leaves_every_other_sample_plain(modality: Modality) -> None:
    indices = np.arange(40)
    even, mixed = (parts(config(modality, complexity=c), "train", indices) for c in ("even", "mixed"))
    assert np.array_equal(mixed.signal[::2], even.signal[::2])
    assert np.array_equal(mixed.label, even.label)
    assert not mixed.texture[1::2].any()
    plain, mask = mixed.structure[1::2], mixed.mask[1::2]
    if modality.is_audio:
        assert mask.any(axis=1).all()
        assert mask.mean() < even.mask[1::2].mean()
    else:
        assert not mask.any()
        colours = plain.reshape(20, 3, -1)
        assert (colours == colours[:, :, :1]).all()
        background = np.median(even.structure[1::2].reshape(20, 3, -1), axis=2)
        np.testing.assert_allclose(colours[:, :, 0], background, atol=1e-6)
