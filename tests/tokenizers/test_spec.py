from __future__ import annotations

import pytest

from latentbench.tokenizers.spec import LatentGrid, LatentSpec, MelSpec, Modality, SignalSpec

PHOTO = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(256, 256))
CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(17, 256, 256), rate=24.0)
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=2, shape=(44100,), rate=44100.0)
MEL = SignalSpec(
    modality=Modality.SPECTROGRAM,
    channels=1,
    shape=(64, 64),
    rate=16000.0,
    mel=MelSpec(sample_rate=16000),
    source_shape=(1, 16384),
)


def latent(signal: SignalSpec, *grids: LatentGrid) -> LatentSpec:
    return LatentSpec(signal=signal, grids=grids)


def test_the_worked_value() -> None:
    assert latent(PHOTO, LatentGrid(shape=(32, 32), channels=8)).tsr == 24
    assert latent(PHOTO, LatentGrid(shape=(16, 16), channels=32)).tsr == 24


def test_a_causal_video_is_counted_exactly() -> None:
    # 17 frames become 5 latent frames: 163.2, not the asymptotic 192 (docs of causal 4x8x8 tokenizers).
    assert latent(CLIP, LatentGrid(shape=(5, 32, 32), channels=4)).tsr == pytest.approx(163.2)


def test_audio_counts_channels() -> None:
    # Stable Audio 2: hop 2048, stereo, 64 channels: 2048 * 2 / 64 = 64 (here on a whole number of hops).
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=2, shape=(2048 * 20,), rate=44100.0)
    assert latent(signal, LatentGrid(shape=(20,), channels=64)).tsr == 64


def test_a_spectrogram_is_counted_against_its_waveform() -> None:
    spec = latent(MEL, LatentGrid(shape=(16, 16), channels=4))
    assert spec.tsr == 16384 / 1024
    assert spec.tsr_input == 4096 / 1024
    assert MEL.seconds == 16384 / 16000


def test_codes_count_what_a_prior_predicts_and_their_bits() -> None:
    one = latent(PHOTO, LatentGrid(shape=(1, 1), channels=8, codebook_sizes=(512,)))
    assert (one.bits_per_sample, one.elements, one.discrete) == (9, 1, True)
    product = latent(PHOTO, LatentGrid(shape=(32, 32), channels=16, codebook_sizes=(256,) * 4))
    assert product.elements == 32 * 32 * 4
    assert product.bits_per_sample == 32 * 32 * 4 * 8
    assert product.tsr == 256 * 256 * 3 / (32 * 32 * 4)
    assert latent(PHOTO, LatentGrid(shape=(1, 1), channels=1, codebook_sizes=(8192,) * 16)).bits_per_sample == 13 * 16


def test_continuous_values_have_nominal_bits() -> None:
    spec = latent(SOUND, LatentGrid(shape=(100,), channels=4))
    assert spec.bits_per_sample == 100 * 4 * 32
    assert spec.bitrate == spec.bits_per_sample
    assert spec.bits_per_element == spec.bits_per_sample / 88200
    assert latent(PHOTO, LatentGrid(shape=(32, 32), channels=4)).bitrate is None
    assert latent(CLIP, LatentGrid(shape=(5, 32, 32), channels=4)).bitrate == pytest.approx(5 * 1024 * 4 * 32 * 24 / 17)


def test_a_hierarchy_adds_its_grids() -> None:
    top = LatentGrid(shape=(8, 8), channels=4, codebook_sizes=(512,))
    bottom = LatentGrid(shape=(16, 16), channels=4, codebook_sizes=(512,))
    spec = latent(PHOTO, top, bottom)
    assert (spec.topology, spec.elements, spec.positions, spec.bits_per_sample) == ("hierarchy", 320, 320, 9 * 320)
    with pytest.raises(ValueError, match="all discrete or all continuous"):
        latent(PHOTO, top, LatentGrid(shape=(16, 16), channels=4))
    with pytest.raises(ValueError, match="at least one grid"):
        latent(PHOTO)


def test_a_signal_has_its_modality_s_axes() -> None:
    assert [m.rank for m in Modality] == [2, 3, 1, 2]
    with pytest.raises(ValueError, match="video has 3 axes"):
        SignalSpec(modality=Modality.VIDEO, channels=3, shape=(8, 8))
