"""LPIPS on VGG16 and SqueezeNet: real loading of torchvision's files, against the package given the same trunk."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.config import LPIPS
from latentbench.tasks.metrics.lpips import lpips
from latentbench.tokenizers import weights
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGES = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(40, 48))


def trunk_of(net: str, folder: Path) -> Path:
    """A file of random weights such as torchvision's, without the classifier that LPIPS does not read."""
    model = {"vgg": torchvision.models.vgg16, "squeeze": torchvision.models.squeezenet1_1}[net]
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in model().state_dict().items() if k.startswith("features.")}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        k: torch.randn(s, generator=generator) * (0.1 if len(s) == 1 else (2 / s[1:].numel()) ** 0.5)
        for k, s in shapes.items()
    }
    (config,) = LPIPS[net]
    path = folder / weights.known[config.weights].filenames[0]
    torch.save(tensors, path)
    return path


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = nn.functional.interpolate(torch.rand(3, 3, 5, 6, generator=generator), (40, 48)) * 2 - 1
    return x, (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def features(net: str, tensors: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The maps that the paper compares, from torchvision's own net with the same weights."""
    model = {"vgg": torchvision.models.vgg16, "squeeze": torchvision.models.squeezenet1_1}[net]
    taps = {"vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}[net]
    with torch.device("meta"):
        layers = model().features
    layers.load_state_dict({k.removeprefix("features."): v for k, v in tensors.items()}, assign=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x, maps = (x - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1), []
    for i, layer in enumerate(layers):
        x = layer(x)
        maps += [x.clone()] if i in taps else []
    return maps


@pytest.mark.parametrize("net", ["squeeze", pytest.param("vgg", marks=pytest.mark.slow)])
@torch.no_grad()
def test_it_equals_equation_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: str) -> None:
    """Zhang et al., eq. 1, on torchvision's maps with the package's published heads."""
    import lpips as package

    path = trunk_of(net, tmp_path)
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    (config,) = LPIPS[net]
    before = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = config.load_net(weights.require(config.weights))
    assert torch.equal(before, torch.random.get_rng_state())
    heads = torch.load(
        Path(package.__file__).parent / "weights" / "v0.1" / f"{net}.pth", map_location="cpu", weights_only=True
    )
    x, y = pair()
    maps = (features(net, torch.load(path, weights_only=True), z) for z in (x, y))
    expected = torch.zeros(3)
    for i, (a, b) in enumerate(zip(*maps, strict=True)):
        a, b = (z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10) for z in (a, b))
        expected += ((a - b).square() * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
    torch.testing.assert_close(lpips(x, y, model, chunk=2), expected, atol=1e-5, rtol=1e-4)
    assert float(expected.min()) > 1e-3
    metric = config.build(model)
    summary = metric.summary(metric.values(y, x, IMAGES), IMAGES)
    assert summary.name == f"lpips_{net}"
    assert summary.value == pytest.approx(float(expected.mean()), rel=0.02)  # rounded to uint8
    assert {"vgg": "VGG16", "squeeze": "SqueezeNet"}[net] in summary.protocol


@torch.no_grad()
def test_small_and_grey_images(tmp_path: Path) -> None:
    trunk_of("squeeze", tmp_path)
    (config,) = LPIPS["squeeze"]
    model = config.load_net(tmp_path / weights.known[config.weights].filenames[0])
    x, y = (z[:, :1, :16, :24] for z in pair())
    up = [nn.functional.interpolate(z.expand(-1, 3, -1, -1), (32, 48), mode="bilinear") for z in (x, y)]
    torch.testing.assert_close(model(x, y), model(*up))


def test_a_file_of_another_net(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg16-397923af.pth")
    (config,) = LPIPS["squeeze"]
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth: not the weights expected under this name"):
        config.load_net(tmp_path / "vgg16-397923af.pth")


def test_the_choices_name_their_weights() -> None:
    assert [config.weights for config in LPIPS["all"]] == ["alexnet_lpips", "vgg16", "squeezenet1_1"]
    assert LPIPS["off"] == ()
    assert {config.kind for config in LPIPS["on"]} == {"lpips"}
