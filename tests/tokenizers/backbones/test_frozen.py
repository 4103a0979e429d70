"""The frozen backbone: whose features it gives, that nothing in it is trained, what it costs, where it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tokenizers.backbones.frozen import FrozenEncoder
from latentbench.tokenizers.backbones.frozen_config import FrozenConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.optimisers import Adam
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.targets import OrientedGradients

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 24))
CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 16, 16), rate=8.0)
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=8000.0)


def test_the_features_are_the_nets_averaged_onto_the_grid() -> None:
    x = torch.rand(2, 3, 16, 24, requires_grad=True)
    features = FrozenEncoder(FrozenConfig(), IMAGE, (4, 4))(x)
    maps = [F.adaptive_avg_pool2d(m, (4, 6)) for m in OrientedGradients(video=False)(x.detach())]
    torch.testing.assert_close(features, torch.cat(maps, 1))
    assert features.shape[1] == FrozenConfig().features(IMAGE, (4, 4))
    assert not features.requires_grad


def test_training_moves_the_decoder_and_no_latent() -> None:
    tokenizer, x = build(resolve("rae", SOUND, {})), torch.randn(4, 1, 1024)
    tokenizer.on_train_start([x])
    before = tokenizer.encode(x).values
    optimiser = Adam(tokenizer.param_groups()["model"], lr=1e-2)
    tokenizer.train().losses(x, group="model", step=0, steps=2)["loss"].backward()
    optimiser.step()
    assert torch.equal(tokenizer.eval().encode(x).values, before)
    moved = {name.split(".")[0] for name, p in tokenizer.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"decoder", "project_out"}
    assert not list(tokenizer.encoder.parameters())


@pytest.mark.parametrize(
    ("signal", "options", "message"),
    [
        (IMAGE, {"decoder": {"kind": "frozen"}}, "decoder: 'frozen' has no decoder: give another's"),
        (
            SOUND,
            {"backbone": {"net": "mobilenet_v2"}},
            'backbone: net "mobilenet_v2" is for images and frames, not',
        ),
        (IMAGE, {"backbone": {"net": "resnet"}}, "backbone: net: input should be 'handmade' or 'mobilenet_v2'"),
    ],
)
def test_what_makes_no_sense_is_refused(signal: SignalSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("rae", signal, options)


def test_without_a_decoder_it_is_refused() -> None:
    with pytest.raises(UserError, match="backbone: 'frozen' has no decoder: give another's, decoder = "):
        resolve("ae", IMAGE, {"channels": 4, "backbone": {"kind": "frozen"}})


def test_a_net_without_its_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LATENTBENCH_WEIGHTS", "TORCH_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    config = resolve("rae", IMAGE, {"backbone": {"net": "mobilenet_v2"}, "channels": 96})
    assert config.weights() == ("mobilenet_v2",)
    tokenizer = build(config)
    with pytest.raises(UserError, match=r"backbone\.net: weights 'mobilenet_v2' not found"):
        tokenizer.encode(torch.zeros(1, 3, 16, 24))


def test_mobilenets_features_are_torchvisions(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import mobilenet_v2

    from latentbench.tokenizers.weights import load

    weights = shared_data / "weights"
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(weights))
    tensors = load(next(weights.glob("mobilenet_v2*")))
    net: nn.Module = mobilenet_v2(weights=None).features
    net.load_state_dict({name.removeprefix("features."): t for name, t in tensors.items()}, strict=False)
    x = torch.rand(2, 3, 4, 32, 48) * 2 - 1
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 32, 48), rate=8.0)
    encoder = FrozenEncoder(FrozenConfig(net="mobilenet_v2"), signal, (2, 16, 16))
    with FlopCounterMode(display=False) as counter:
        features = encoder(x)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        frames = [net.eval()[:14](((x[:, :, i] + 1) / 2 - mean) / std) for i in range(4)]
    expected = torch.stack([(frames[0] + frames[1]) / 2, (frames[2] + frames[3]) / 2], 2)
    assert features.shape == (2, 96, 2, 2, 3)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-3)
    cost = FrozenConfig(net="mobilenet_v2").encoder_cost(signal, (2, 16, 16))
    assert 2 * cost.flops == pytest.approx(counter.get_total_flops(), rel=1e-6)
    assert cost.parameters == 0
