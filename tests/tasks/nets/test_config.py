"""What the nets' descriptions say of them: their cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentbench.bench import flops
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.config import ScatteringConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")
IMAGES = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def clips(frames: int) -> SignalSpec:
    return SignalSpec(modality=Modality.VIDEO, channels=3, shape=(frames, 32, 32), rate=8)


def sounds(seconds: float) -> SignalSpec:
    return SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(round(8000 * seconds),), rate=8000)


WITH_WEIGHTS = [
    ("inception", IMAGES),
    ("inception_spatial", IMAGES),
    ("mobilenet_v2", IMAGES),
    ("i3d", clips(4)),
    ("i3d", clips(16)),
    ("yamnet", sounds(0.128)),
    ("yamnet", sounds(3)),
    ("musicnn", sounds(1)),
    ("musicnn", sounds(6.5)),
]


def counted(name: str, signal: SignalSpec) -> float:
    net = nets.get(name)().load(signal, CPU)
    with flops.counter() as counter, torch.no_grad():
        net(torch.rand(1, signal.channels, *signal.shape) * 2 - 1)
    return float(counter.get_total_flops())


@pytest.mark.parametrize(("name", "signal"), WITH_WEIGHTS, ids=[f"{name}-{s.shape[0]}" for name, s in WITH_WEIGHTS])
def test_flops_are_as_counted(name: str, signal: SignalSpec, weights_folder: Path) -> None:
    assert nets.get(name).estimate_flops(signal) == pytest.approx(counted(name, signal), rel=0.25)


@pytest.mark.parametrize("signal", [IMAGES, clips(8), sounds(1)], ids=lambda signal: str(signal.modality))
def test_the_scattering_s_flops_are_about_as_counted(signal: SignalSpec) -> None:
    assert 0.4 < ScatteringConfig.estimate_flops(signal) / counted("scattering", signal) < 2.5


@pytest.mark.parametrize("name", sorted(nets))
def test_every_net_says_what_it_costs(name: str) -> None:
    config = nets.get(name)
    signal = {Modality.IMAGE: IMAGES, Modality.VIDEO: clips(16), Modality.WAVEFORM: sounds(2)}[config.modalities[0]]
    assert config.estimate_flops(signal) > 1e6
    assert 1 <= (config.at_once(signal) or 0) < 10_000


def test_a_batch_that_is_large_for_it_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScatteringConfig, "unit_bytes", 1e5)
    net = nets.get("scattering")().load(IMAGES, CPU)
    assert net.at_once == 4
    batch = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    torch.testing.assert_close(net.features(batch), net(batch))
    assert seen == [4, 4, 1, 9]
    assert net.features(batch[:0]).shape == (0, 96)
