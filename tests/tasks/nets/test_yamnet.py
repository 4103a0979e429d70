"""YAMNet: its mel filters, framing, and that it hears what is there."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from latentbench.tasks.features import collect
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.metrics.kid import mmd2
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.yamnet import YamnetNet
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec
from latentbench.tokenizers.yamnet import mel_matrix

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


def _shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the released file: int8 with a scale per output, but for a few layers in float."""
    shapes: dict[str, tuple[int, ...]] = {"layer1.conv.weight": (32, 1, 3, 3), "layer1.conv.bias": (32,)}
    channels = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for layer, (i, o) in enumerate(pairwise(channels), start=2):
        for name, shape in ((f"layer{layer}.dw", (i, 1, 3, 3)), (f"layer{layer}.pw", (o, i, 1, 1))):
            shapes[f"{name}.bias"] = shape[:1]
            if shape[1] == 1 and layer < 4:
                shapes[f"{name}.weight"] = shape
            else:
                shapes |= {f"{name}.weight_int8": shape, f"{name}.weight_scale": shape[:1]}
    return shapes | {"dense.weight_int8": (521, 1024), "dense.weight_scale": (521,), "dense.bias": (521,)}


def _by_hand(t: dict[str, Tensor], wave: np.ndarray) -> np.ndarray:
    """The embedding of one waveform `[N]` at 16 kHz: the published features and layers one by one, in float64."""

    def weight(name: str) -> Tensor:
        if f"{name}.weight" in t:
            return t[f"{name}.weight"].double()
        scales = t[f"{name}.weight_scale"].double()
        return torch.stack([scales[i] * row.double() for i, row in enumerate(t[f"{name}.weight_int8"])])

    # 15600 samples are a patch of 96 frames of 400 samples, 160 apart; the next begins 48 frames later.
    patches = 1 + max(0, math.ceil((len(wave) - 15_600) / 7680))
    wave = np.concatenate([wave, np.zeros(15_600 + (patches - 1) * 7680 - len(wave))])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = [wave[i : i + 400] * hann for i in range(0, len(wave) - 399, 160)]
    spectra = [np.abs(np.fft.rfft(frame, 512)) for frame in frames]

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = np.linspace(mel(125), mel(7500), 66)
    bank = np.zeros((257, 64))
    for k in range(1, 257):
        m = mel(k * 8000 / 256)
        for i in range(64):
            low, centre, high = edges[i : i + 3]
            bank[k, i] = max(0.0, min((m - low) / (centre - low), (high - m) / (high - centre)))
    logs = np.log(np.array(spectra) @ bank + 0.001)
    x = torch.from_numpy(np.stack([logs[48 * p : 48 * p + 96] for p in range(patches)]))[:, None]

    def same(x: Tensor, name: str, stride: int, groups: int) -> Tensor:
        """Zeros around for 3 x 3; with stride 2 on an even size only behind."""
        pads = []
        for size in (x.shape[3], x.shape[2]):
            before = 0 if stride == 2 and size % 2 == 0 else 1
            pads += [before, 1]
        x = torch.nn.functional.pad(x, pads)
        return torch.nn.functional.conv2d(x, weight(name), t[f"{name}.bias"].double(), stride, groups=groups).relu()

    x = same(x, "layer1.conv", 2, 1)
    for layer in range(2, 15):
        x = same(x, f"layer{layer}.dw", 2 if layer in (3, 5, 7, 13) else 1, x.shape[1])
        x = torch.einsum("oi,bihw->bohw", weight(f"layer{layer}.pw")[:, :, 0, 0], x)
        x = (x + t[f"layer{layer}.pw.bias"].double()[:, None, None]).relu()
    assert x.shape[2:] == (3, 2)
    return x.numpy().mean((2, 3)).mean(0)


def test_random_weights_equal_the_published_net(random_weights: Callable[..., dict[str, Tensor]]) -> None:
    shapes = _shapes()
    tensors = random_weights("yamnet", shapes)
    for name, shape in shapes.items():
        if name.endswith("_int8"):  # integers of standard deviation 73: keep the size of what flows through
            scale = tensors[name.replace("_int8", "_scale")]
            scale.copy_((1 + scale) * (2 / math.prod(shape[1:])) ** 0.5 / 73)
    save_file(tensors, Path(os.environ["LATENTBENCH_WEIGHTS"]) / "yamnet_int8.safetensors")
    wave = torch.randn(1, 1, 20_000) * torch.linspace(0.01, 0.3, 20_000)
    net = _load(1, 20_000, 16_000)
    ours, expected = net(wave)[0].double(), torch.from_numpy(_by_hand(tensors, wave[0, 0].double().numpy()))
    assert ours.shape == (1024,)
    assert float((ours - expected).norm() / expected.norm()) < 1e-5
    assert float((expected > 0).double().mean()) > 0.2
    logits = expected @ (tensors["dense.weight_int8"].double() * tensors["dense.weight_scale"].double()[:, None]).T
    classes = torch.sigmoid(logits + tensors["dense.bias"].double())
    torch.testing.assert_close(net.classes(ours[None].float())[0].double(), classes, atol=1e-5, rtol=1e-4)


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
    expected = torch.log(torch.fft.rfft(frame, n=512).abs() @ net.trunk.mels + 0.001)
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


def test_released_weights_on_speech_equal_the_published_net(
    shared_data: Path, weights_folder: Path, read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    wave, rate = read_audio(shared_data / "audio" / "lyra_speech" / "sample1_48kHz.wav")
    sound = wave[..., : 2 * rate].unflatten(-1, (-1, 3)).mean(-1)  # 16 kHz: the net's own rate, so none resamples
    ours = _load(1, sound.shape[-1], 16_000)(sound)[0].double()
    tensors = load_file(weights_folder / "yamnet_int8.safetensors")
    expected = torch.from_numpy(_by_hand(tensors, sound[0, 0].double().numpy()))
    assert float((ours - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("weights_folder")
def test_distances_of_real_sounds_equal_other_implementations(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    """Fréchet's by the nuclear norm of the centred features, the kernel's by torchmetrics."""
    poly_mmd = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    files = sorted((shared_data / "audio" / "fsdd" / "recordings").glob("*_0.wav"))[::8][:6]
    clips = torch.cat([functional.pad(read_audio(file)[0], (0, 8000))[..., :4000] for file in files])
    net = _load(1, 4000, 8000)
    x, y = (collect(net, [sounds]).double() for sounds in (clips, clips + 0.02 * torch.randn_like(clips)))
    root = torch.linalg.matrix_norm((x - x.mean(0)) @ (y - y.mean(0)).T, "nuc") / (len(x) - 1)
    expected = (x.mean(0) - y.mean(0)).square().sum() + x.var(0).sum() + y.var(0).sum() - 2 * root
    assert frechet_distance(y, FrechetReference.of(x)) == pytest.approx(float(expected), rel=1e-6)
    every = torch.arange(len(x))[None]
    assert float(mmd2(x, y, every, every)[0]) == pytest.approx(float(poly_mmd(x, y)), rel=1e-9)
    assert expected > 0.1
