"""MusiCNN: patches, and that it tells kinds of sound apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentbench.tasks.features import collect
from latentbench.tasks.nets import nets
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")
ELECTRONIC, AMBIENT, HIP_HOP = 4, 28, 33  # positions in the Million Song Dataset's 50 tags


def _signal(samples: int, rate: int = 16_000) -> SignalSpec:
    return SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(samples,), rate=rate)


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
