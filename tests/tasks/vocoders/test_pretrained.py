"""Pretrained vocoders: what the net is given, where its sound lies, and that each sound is its own mel's alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.vocoders.convention import MelConvention
from latentbench.tasks.vocoders.pretrained import Pretrained, filters
from latentbench.tasks.vocoders.pretrained_config import PUBLISHED, PretrainedConfig
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

pytestmark = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
MEL = MelSpec(sample_rate=8000, n_mels=24, n_fft=256, hop=64)
ALIKE = {"n_fft": 256, "f_min": 0.0, "f_max": 4000.0, "scale": "htk", "power": 2, "sample_rate": 8000}
WAVES = 0.1 * torch.randn(2, 2, 1024, generator=torch.Generator().manual_seed(1))


def signal(mel: MelSpec, samples: int, channels: int = 2) -> SignalSpec:
    return SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=channels,
        shape=(mel.n_mels, samples // mel.hop),
        rate=float(mel.sample_rate),
        mel=mel,
        source_shape=(channels, samples),
    )


def build(folder: Path, spec: SignalSpec, **options: Any) -> Pretrained:
    vocoder: Pretrained = PretrainedConfig(path=str(folder), **options).located("vocoder").build(spec)
    return vocoder


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "log"), [("none", "ln"), ("slaney", "log10"), ("slaney", "db")])
def test_a_spectrogram_of_the_same_filters_is_converted_exactly(
    save_vocoder: Callable[..., Path], norm: str, log: str
) -> None:
    from torchaudio.transforms import MelSpectrogram

    folder = save_vocoder("SpeechT5HifiGan")
    vocoder = build(folder, signal(MEL, 1024), mel={**ALIKE, "norm": norm, "log": log})
    theirs = MelSpectrogram(8000, n_fft=256, hop_length=64, n_mels=24, norm=None if norm == "none" else norm)
    power = theirs(WAVES)[..., :16]
    expected = {"ln": power.log(), "log10": power.log10(), "db": 10 * power.log10()}[log]
    torch.testing.assert_close(vocoder.converted(LogMel(MEL)(WAVES)), expected, atol=1e-4, rtol=1e-4)
    assert "fitted" not in vocoder.protocol


def test_it_renders_what_the_net_makes_of_it(save_vocoder: Callable[..., Path]) -> None:
    import transformers

    folder = save_vocoder("SpeechT5HifiGan")
    vocoder = build(folder, signal(MEL, 1024), mel=ALIKE)
    mel = LogMel(MEL)(WAVES)
    rendered = vocoder.render(mel)
    net = transformers.SpeechT5HifiGan.from_pretrained(folder)
    with torch.no_grad():
        expected = net(vocoder.converted(mel)[1, 0].T)
    assert rendered.shape == WAVES.shape
    assert float(rendered.std()) > 1e-3
    torch.testing.assert_close(rendered[1, 0], expected, atol=1e-4, rtol=0)


def test_the_same_noise_goes_into_every_sound_of_univnet(save_vocoder: Callable[..., Path]) -> None:
    folder = save_vocoder("UnivNetModel", initializer_range=0.3)
    mel = LogMel(MEL)(WAVES)
    vocoder = build(folder, signal(MEL, 1024), mel=ALIKE)
    rendered = vocoder.render(mel)
    assert rendered.shape == WAVES.shape
    apart = torch.cat([vocoder.render(part) for part in mel.split(1)])
    torch.testing.assert_close(rendered, apart, atol=1e-5, rtol=1e-4)
    other = build(folder, signal(MEL, 1024), mel=ALIKE, seed=1).render(mel)
    assert float((other - rendered).abs().max()) > 1e-4


def test_frames_half_a_hop_behind_are_moved_back(
    save_vocoder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    vocoder = build(save_vocoder("UnivNetModel"), signal(MEL, 1024), mel=ALIKE)
    monkeypatch.setattr(vocoder, "_sound", lambda read: torch.arange(64.0 * read.shape[-1]).expand(len(read), -1))
    # Its frame 0 lies around sample 32 of its sound, ours around sample 0.
    assert torch.equal(vocoder.render(LogMel(MEL)(WAVES))[1, 1], torch.arange(32.0, 32.0 + 1024))


@pytest.mark.slow
def test_a_net_with_too_short_a_sound_is_refused(save_vocoder: Callable[..., Path]) -> None:
    vocoder = build(save_vocoder("SpeechT5HifiGan"), signal(MEL, 1024), mel=ALIKE)
    vocoder.net.upsampler[1].padding = (8,)
    with pytest.raises(UserError, match=r"makes 1016 samples of 16 frames, and frames are 64 apart"):
        vocoder.render(LogMel(MEL)(WAVES))


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("config.json", b'"upsample_initial_channel": 16', b'"upsample_initial_channel": 32', "can't be loaded"),
        ("config.json", b'"normalize_before": true', b'"normalize_before": "x"', "can't be loaded"),
        ("model.safetensors", b"conv_pre.bias", b"conv_par.bias", "has no place for conv_par.bias"),
        ("model.safetensors", b"{", b"}", "can't be loaded"),
    ],
)
def test_weights_of_another_architecture_are_one_line(
    save_vocoder: Callable[..., Path], name: str, before: bytes, after: bytes, message: str
) -> None:
    file = save_vocoder("SpeechT5HifiGan") / name
    assert before in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(before, after, 1))
    with pytest.raises(UserError, match=message) as error:
        build(file.parent, signal(MEL, 1024), mel=ALIKE)
    assert "\n" not in str(error.value)


def test_filters_equal_the_feature_extractor_s() -> None:
    import transformers

    convention = MelConvention(sample_rate=16000, n_mels=80, hop=256, **PUBLISHED["speecht5_hifigan"])
    theirs = transformers.SpeechT5FeatureExtractor().mel_filters
    np.testing.assert_allclose(filters(convention), theirs, atol=1e-6)


@pytest.mark.slow
def test_a_fitted_spectrum_is_near_what_the_vocoder_was_trained_on(
    shared_data: Path, save_vocoder: Callable[..., Path], read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    """Speech at 16 kHz: SpeechT5's own log-mel of the sound, and ours of the data set's mel alone."""
    import transformers

    wave, rate = read_audio(shared_data / "audio" / "lyra_speech" / "sample1_48kHz.wav")
    assert rate == 48000
    sound = torch.from_numpy(resample_poly(wave[0, 0, : 3 * 48000].numpy(), 1, 3))[: 187 * 256]
    mel = MelSpec(sample_rate=16000, n_mels=80, n_fft=1024, hop=256)
    sizes = {"model_in_dim": 80, "sampling_rate": 16000, "upsample_rates": [16, 16]}
    vocoder = build(save_vocoder("SpeechT5HifiGan", **sizes), signal(mel, len(sound), channels=1), refit=True)
    ours = vocoder.converted(LogMel(mel)(sound[None, None]))[0, 0]
    theirs = torch.from_numpy(transformers.SpeechT5FeatureExtractor()._extract_mel_features(sound.numpy())).T[:, :187]
    assert "fitted" in vocoder.protocol
    assert float(20 * (ours - theirs).abs().mean()) < 1.5  # dB
