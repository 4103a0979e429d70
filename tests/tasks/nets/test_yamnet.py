"""YAMNet: its mel filters, framing, and that it hears what is there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentbench.tasks.features import collect
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.mel import mel_matrix
from latentbench.tasks.nets.yamnet import YamnetNet
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

CPU = torch.device("cpu")


def _load(channels: int, samples: int, rate: int) -> YamnetNet:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=channels, shape=(samples,), rate=rate)
    return nets.get("yamnet")().load(signal, CPU)


def test_mel_filters_are_triangles_on_the_mel_axis() -> None:
    matrix = mel_matrix(64, 257, 16_000, 125.0, 7500.0)
    # TensorFlow's definition, bin by bin: a filter peaks with 1 at its centre and two neighbours sum to 1 in between.
    frequencies = torch.linspace(0, 8000, 257)
    inside = (frequencies > 300) & (frequencies < 7000)
    torch.testing.assert_close(matrix.sum(1)[inside], torch.ones(int(inside.sum())))
    assert float(matrix[frequencies < 125].abs().max()) == 0
    assert float(matrix[frequencies > 7500].abs().max()) == 0
    assert bool((matrix.argmax(0).diff() >= 0).all())


@pytest.mark.usefixtures("weights_folder")
def test_hears_speech_and_music(
    shared_data: Path, weights_folder: Path, read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    with (weights_folder / "yamnet_class_map.csv").open() as file:
        names = [row["display_name"] for row in csv.DictReader(file)]
    audio = shared_data / "audio"
    files = {
        audio / "fsdd" / "recordings" / "3_george_0.wav": "Speech",  # 8 kHz
        audio / "lyra_speech" / "sample1_48kHz.wav": "Speech",  # 48 kHz
        audio / "sonic_pi" / "loop_amen.flac": "Music",  # 44.1 kHz, stereo
    }
    for path, expected in files.items():
        waveform, rate = read_audio(path)
        net = _load(waveform.shape[1], waveform.shape[2], rate)
        features = collect(net, [waveform])
        assert names[int(net.classes(features).argmax())] == expected, path.name


@pytest.mark.usefixtures("weights_folder")
def test_patches_mono_and_length() -> None:
    net = _load(2, 16_000, 16_000)
    mono = torch.randn(3, 16_000) * 0.1
    # 0.975 s hold one patch; what is beyond starts another, filled with silence.
    assert net.patches(mono[:, :100]).shape == (3, 1, 96, 64)
    assert net.patches(mono[:, :15_600]).shape == (3, 1, 96, 64)
    assert net.patches(mono[:, :15_601]).shape == (3, 2, 96, 64)
    stereo = torch.stack([mono * 2, torch.zeros_like(mono)], 1)
    features = collect(net, [stereo[:2], stereo[2:]])
    assert features.shape == (3, 1024)
    torch.testing.assert_close(features, collect(net, [mono[:, None]]), atol=1e-5, rtol=1e-4)
    # A frame by hand, against the stored patch.
    frame = mono[0, 160:560] * torch.hann_window(400)
    expected = torch.log(torch.fft.rfft(frame, n=512).abs() @ net.mels + 0.001)
    torch.testing.assert_close(net.patches(mono)[0, 0, 1], expected)


@pytest.mark.usefixtures("weights_folder")
def test_serves_spectrograms_by_their_waveform() -> None:
    signal = SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=1,
        shape=(64, 31),
        rate=8000,
        mel=MelSpec(sample_rate=8000),
        source_shape=(1, 8000),
    )
    net = nets.get("yamnet")().load(signal, CPU)
    assert net.reads == "waveform"
    assert "resampled from 8000 Hz" in net.protocol
    assert net(torch.randn(1, 1, 8000) * 0.1).shape == (1, 1024)
