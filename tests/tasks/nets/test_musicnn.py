"""MusiCNN: patches, and that it tells kinds of sound apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import resample

from latentbench.tasks.features import collect
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.metrics.kid import mmd2
from latentbench.tasks.nets import nets
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")
ELECTRONIC, AMBIENT, HIP_HOP = 4, 28, 33  # positions in the Million Song Dataset's 50 tags


def _signal(samples: int, rate: int = 16_000) -> SignalSpec:
    return SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(samples,), rate=rate)


def _shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the released file."""
    kernels: list[tuple[int, ...]] = [(7, 38, 1, 204), (7, 67, 1, 204), (128, 1, 1, 51), (64, 1, 1, 51), (32, 1, 1, 51)]
    kernels += [(7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]
    shapes: dict[str, tuple[int, ...]] = {}
    for i, kernel in enumerate(kernels):
        name = f"conv2d_{i}" if i else "conv2d"
        shapes |= {f"{name}/kernel": kernel, f"{name}/bias": kernel[-1:]}
    for i, width in enumerate((1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200)):
        name = f"batch_normalization_{i}" if i else "batch_normalization"
        shapes |= {f"{name}/{part}": (width,) for part in ("beta", "gamma", "moving_mean", "moving_variance")}
    for name, shape in (("dense", (1506, 200)), ("dense_1", (200, 50))):
        shapes |= {f"{name}/kernel": shape, f"{name}/bias": shape[-1:]}
    return shapes


def _by_hand(t: dict[str, Tensor], wave: np.ndarray) -> Tensor:
    """The penultimate layer for one patch of a waveform `[N]` at 16 kHz: the published graph, [time, ...], float64."""
    around = np.pad(wave, 256, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    power = np.array([np.abs(np.fft.rfft(around[256 * i : 256 * i + 512] * hann)) ** 2 for i in range(187)])

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + 27 * math.log(8) / math.log(6.4)
    edges = [hertz(top * i / 97) for i in range(98)]
    bank = np.zeros((257, 96))
    for i in range(96):
        low, centre, high = edges[i : i + 3]
        for k in range(257):
            f = k * 8000 / 256
            bank[k, i] = max(0.0, min((f - low) / (centre - low), (high - f) / (high - centre))) * 2 / (high - low)
    patch = torch.from_numpy(np.log10(10_000 * (power @ bank) + 1))

    def norm(x: Tensor, i: int) -> Tensor:
        """Batch norm of the last axis."""
        name = f"batch_normalization_{i}" if i else "batch_normalization"
        parts = ("moving_mean", "moving_variance", "gamma", "beta")
        mean, var, gamma, beta = (t[f"{name}/{part}"].double() for part in parts)
        return (x - mean) / (var + 0.001).sqrt() * gamma + beta

    def conv(x: Tensor, i: int, before: int, after: int) -> Tensor:
        """`[T, F]` by a kernel `[t, f, 1, out]` to `[T', F', out]`, zeros before and after in time alone."""
        name = f"conv2d_{i}" if i else "conv2d"
        kernel = t[f"{name}/kernel"].double()
        x = torch.cat([torch.zeros(before, x.shape[1]), x, torch.zeros(after, x.shape[1])])
        windows = x.double().unfold(0, kernel.shape[0], 1).unfold(1, kernel.shape[1], 1)  # [T', F', t, f]
        return (torch.einsum("abtf,tfo->abo", windows, kernel[:, :, 0]) + t[f"{name}/bias"].double()).relu()

    patch = norm(patch[:, :, None], 0)[:, :, 0]
    pads = [(3, 3), (3, 3), (63, 64), (31, 32), (15, 16)]
    front = torch.cat([norm(conv(patch, i, *pads[i]), i + 1).amax(1) for i in range(5)], 1)  # [187, 561]
    one = norm(conv(front, 5, 3, 3)[:, 0], 6)
    two = norm(conv(one, 6, 3, 3)[:, 0], 7) + one
    three = norm(conv(two, 7, 3, 3)[:, 0], 8) + two
    every = torch.cat([front, one, two, three], 1)
    pooled = torch.stack([every.max(0).values, every.mean(0)], 1).flatten()
    return norm((norm(pooled, 9) @ t["dense/kernel"].double() + t["dense/bias"].double()).relu(), 10)


def test_random_weights_equal_the_published_graph(random_weights: Callable[..., dict[str, Tensor]]) -> None:
    tensors = random_weights("musicnn", _shapes())
    samples = 187 * 256 - 100
    wave = torch.randn(1, 1, samples) * torch.linspace(0.001, 0.3, samples)
    net = nets.get("musicnn")().load(_signal(samples), CPU)
    ours, expected = net(wave)[0].double(), _by_hand(tensors, wave[0, 0].double().numpy())
    assert ours.shape == (200,)
    assert float((ours - expected).norm() / expected.norm()) < 1e-5
    assert float(expected.std()) > 0.05
    tags = torch.sigmoid(expected @ tensors["dense_1/kernel"].double() + tensors["dense_1/bias"].double())
    torch.testing.assert_close(net.tags(ours[None].float())[0].double(), tags, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("weights_folder")
def test_short_clips_are_looped_and_long_ones_averaged() -> None:
    net = nets.get("musicnn")().load(_signal(16_000), CPU)
    second = torch.randn(2, 1, 16_000) * 0.1
    features = collect(net, [second])
    assert features.shape == (2, 200)
    torch.testing.assert_close(collect(net, [second.repeat(1, 1, 3)[:, :, : 186 * 256]]), features)
    assert net.patches(torch.zeros(1, 2 * 187 * 256 - 256)).shape == (1, 2, 187, 96)
    assert net.patches(torch.zeros(1, 2 * 187 * 256 - 257)).shape == (1, 1, 187, 96)
    two = torch.randn(1, 1, 2 * 187 * 256) * 0.1
    patches = net.patches(two[:, 0])
    one_by_one = []
    for i in (0, 1):
        net.patches = lambda waveform, i=i: patches[:, i : i + 1]
        one_by_one.append(collect(net, [two]))
    del net.patches
    torch.testing.assert_close(collect(net, [two]), torch.stack(one_by_one).mean(0), atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("weights_folder")
def test_front_end_is_a_slaney_log_mel() -> None:
    net = nets.get("musicnn")().load(_signal(48_000), CPU)
    time = torch.arange(48_000) / 16_000
    tone = 0.5 * torch.sin(2 * torch.pi * 1000 * time)
    patch = net.patches(tone[None])[0, 0]
    # Slaney's mel scale is linear below 1 kHz, 200/3 Hz a mel, and logarithmic above; 96 filters up to 8 kHz.
    top = 15 + 27 * torch.log(torch.tensor(8.0)) / torch.log(torch.tensor(6.4))
    expected = 15 / (top / 97) - 1
    assert abs(int(patch.mean(0).argmax()) - float(expected)) <= 1
    assert float(patch.min()) >= 0


@pytest.mark.usefixtures("weights_folder")
def test_tags_are_plausible(shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]]) -> None:
    audio = shared_data / "audio"
    for path, tag in (
        (audio / "sonic_pi" / "loop_amen.flac", ELECTRONIC),
        (audio / "sonic_pi" / "ambi_piano.flac", AMBIENT),
        (audio / "lyra_speech" / "sample1_48kHz.wav", HIP_HOP),
    ):
        waveform, rate = read_audio(path)
        net = nets.get("musicnn")().load(_signal(waveform.shape[2], rate), CPU)
        assert tag in net.tags(collect(net, [waveform]))[0].topk(3).indices.tolist(), path.name


def test_released_weights_on_music_equal_the_published_graph(
    shared_data: Path, weights_folder: Path, read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    samples = 187 * 256 - 100
    wave, rate = read_audio(shared_data / "audio" / "sonic_pi" / "loop_amen.flac")
    assert rate == 44_100
    sound = resample(wave.mean(1, keepdim=True), rate, 16_000).repeat(1, 1, 2)[..., :samples]
    ours = nets.get("musicnn")().load(_signal(samples), CPU)(sound)[0].double()
    expected = _by_hand(load_file(weights_folder / "musicnn_msd.safetensors"), sound[0, 0].double().numpy())
    assert float((ours - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("weights_folder")
def test_distances_of_real_sounds_equal_torchmetrics(
    shared_data: Path, read_audio: Callable[[Path], tuple[Tensor, int]]
) -> None:
    poly_mmd = pytest.importorskip("torchmetrics.image.kid").poly_mmd
    compute_fid = pytest.importorskip("torchmetrics.image.fid")._compute_fid
    files = sorted((shared_data / "audio" / "sonic_pi").glob("*.flac"))[::10][:4]
    clips = torch.cat([functional.pad(read_audio(f)[0].mean(1, keepdim=True), (0, 8000))[..., :8000] for f in files])
    net = nets.get("musicnn")().load(_signal(8000), CPU)
    x, y = (collect(net, [sounds]).double() for sounds in (clips, clips + 0.02 * torch.randn_like(clips)))
    expected = float(compute_fid(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()))
    assert frechet_distance(y, FrechetReference.of(x)) == pytest.approx(expected, rel=1e-4)
    every = torch.arange(len(x))[None]
    assert float(mmd2(x, y, every, every)[0]) == pytest.approx(float(poly_mmd(x, y)), rel=1e-9)
