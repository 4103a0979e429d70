"""The frozen backbone: whose features it gives, that nothing in it is trained, what it costs, where it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tasks.nets import nets
from latentbench.tokenizers.backbones.frozen import FrozenEncoder
from latentbench.tokenizers.backbones.frozen_config import FrozenConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.optimisers import Adam
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.scattering import audible
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec
from latentbench.tokenizers.targets import OrientedGradients

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 24))
CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 16, 16), rate=8.0)
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=8000.0)
MEL = MelSpec(sample_rate=8000, n_fft=256, hop=64, n_mels=32)
MELS = SignalSpec(
    modality=Modality.SPECTROGRAM, channels=1, shape=(32, 16), rate=8000.0, mel=MEL, source_shape=(1, 1024)
)
THIN = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(2, 16))


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
        (IMAGE, {"backbone": {"net": "resnet"}}, "backbone: net: input should be 'handmade', 'mobilenet_v2', 'yamnet'"),
        (IMAGE, {"backbone": {"net": "yamnet"}}, 'backbone: net "yamnet" is for waveforms, not image'),
        (
            MELS,
            {"backbone": {"net": "yamnet"}},
            'yamnet" reads waveforms, and the bands of a spectrogram are not',
        ),
        (THIN, {"backbone": {"net": "scattering"}}, "needs 4 places along both axes of a picture; this signal has too"),
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


def _means(numbers: Tensor, sizes: list[int], cells: tuple[int, ...], cell: int) -> Tensor:
    """Of the feature net's numbers the means in the cells called `cell`: maps of `sizes`, in as many `cells` each."""
    parts, at = [], 0
    for size in sizes:
        for number, count in enumerate(cells):
            if number == cell:
                parts.append(numbers[:, at : at + size * count])
            at += 2 * size * count  # means, then deviations
    assert at == numbers.shape[1]
    return torch.cat(parts, 1)


@pytest.mark.parametrize("signal", [IMAGE, CLIP, SOUND, MELS], ids=lambda signal: str(signal.modality))
def test_scatterings_features_are_the_feature_nets_means(signal: SignalSpec) -> None:
    """Averaged over all places they are the numbers that the net has before it is whitened; and they cost as said."""
    x = torch.rand(2, signal.channels, *signal.shape) * 2 - 1
    config = FrozenConfig(net="scattering")
    whole = FrozenEncoder(config, signal, signal.shape)(x).flatten(1)
    net = nets.get("scattering")().load(signal, torch.device("cpu"))
    pictures = x if net.log_mel is None else net.log_mel(x)
    pictures = pictures if net.mel is None else audible(pictures, net.mel)
    numbers = net.scattering(pictures)
    sizes = [maps.shape[1] for maps, _ in net.scattering.maps(net.scattering.planes(pictures).flatten(0, 1))]
    cells = tuple(high * wide for high, wide in net.scattering.cells)
    expected = _means(numbers, sizes, cells, 1 if signal.modality is Modality.WAVEFORM else 0)
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-4)
    down = tuple(4 for _ in signal.shape) if signal.modality is not Modality.WAVEFORM else (64,)
    encoder = FrozenEncoder(config, signal, down)
    with FlopCounterMode(display=False) as counter:
        features = encoder(x)
    assert features.shape == (2, config.features(signal, down), *encoder.grid)
    assert 2 * config.encoder_cost(signal, down).flops == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert config.weights() == ()
    if signal.modality is Modality.IMAGE:  # what is averaged in quarters is the whole's mean, of what has no logarithm
        quarters = FrozenEncoder(config, signal, (8, 12))(x)[:, :3]
        torch.testing.assert_close(quarters.mean((2, 3)), whole[:, :3])


def test_yamnets_features_are_the_feature_nets_layers(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(shared_data / "weights"))
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(15_360,), rate=16_000.0)
    longer = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(15_600,), rate=16_000.0)
    x = torch.randn(2, 1, 15_360) / 10
    config, down = FrozenConfig(net="yamnet"), (2560,)  # six positions of 16 frames of 10 ms, as the net was trained
    encoder = FrozenEncoder(config, signal, down)
    with FlopCounterMode(display=False) as counter:
        features = encoder(x)
    net = nets.get("yamnet")().load(longer, torch.device("cpu"))
    patches = net.patches(F.pad(x, (120, 120))[:, 0])  # frames are centred; a patch of the net's begins with one
    assert patches.shape == (2, 1, 96, 64)
    y = F.relu(net.trunk.stem(patches))
    for layer in net.trunk.layers[:22]:
        y = F.relu(layer(y))
    assert y.shape == (2, 512, 6, 4)
    torch.testing.assert_close(features, y.transpose(2, 3).flatten(1, 2), atol=1e-4, rtol=1e-3)
    assert features.shape[1] == config.features(signal, down)
    assert 2 * config.encoder_cost(signal, down).flops == pytest.approx(counter.get_total_flops(), rel=1e-6)
    assert config.weights() == ("yamnet",)
    fine = FrozenEncoder(config, SOUND, (64,))  # 16 positions in 0.128 s at 8 kHz: frames are 8 samples of 16 kHz apart
    assert fine(torch.randn(2, 1, 1024)).shape == (2, 2048, 16)
    assert fine.target.spread.hop == 8  # type: ignore[attr-defined]


@pytest.mark.parametrize(("net", "signal", "channels"), [("scattering", IMAGE, 20), ("yamnet", SOUND, 32)])
def test_a_tokenizer_of_them_is_built_and_decodes(
    net: str, signal: SignalSpec, channels: int, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(shared_data / "weights"))
    tokenizer = build(resolve("rae", signal, {"backbone": {"net": net}, "channels": channels}))
    x = torch.rand(40, signal.channels, *signal.shape) * 2 - 1
    tokenizer.on_train_start([x])
    latents = tokenizer.encode(x)
    assert latents.values is not None
    assert latents.values.shape[1] == channels
    assert tokenizer.decode(latents).shape == x.shape
