"""LPIPS against the `lpips` package with the same weights."""

from __future__ import annotations

import importlib.machinery
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.io import decode_image

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.config import LpipsConfig
from latentbench.tasks.metrics.lpips import lpips as lpips_metric
from latentbench.tokenizers.losses.lpips import LPIPS, Perceptual
from latentbench.tokenizers.losses.lpips_config import LPIPSConfig
from latentbench.tokenizers.spec import Modality, SignalSpec


@pytest.fixture(scope="module")
def trunk(shared_data: Path) -> Path:
    return shared_data / "weights" / "alexnet_features_lpips.safetensors"


@pytest.fixture(scope="module")
def model(trunk: Path) -> LPIPS:
    return LPIPS(trunk)


@pytest.fixture(scope="module")
def peer(trunk: Path) -> nn.Module:
    package = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision deprecations inside the package
        peer = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    tensors = load_file(trunk)
    peer.net.load_state_dict({k: tensors["features." + k.split(".", 1)[1]] for k in peer.net.state_dict()})
    return peer


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> Tensor:
    files = sorted((shared_data / "images" / "kodak").glob("*.png"))[:4]
    return torch.stack([decode_image(str(f))[:, 100:228, 200:296] for f in files]).float() / 127.5 - 1


def _noisy(x: Tensor) -> Tensor:
    return (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


@pytest.mark.filterwarnings("ignore")  # torchvision deprecations inside the package
def test_random_weights_equal_the_package(tmp_path: Path) -> None:
    """Without the real weights: the same random trunk in both, with the package's own heads."""
    package = pytest.importorskip("lpips")
    peer = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    names = {key: "features." + key.split(".", 1)[1] for key in peer.net.state_dict()}
    save_file({names[key]: tensor for key, tensor in peer.net.state_dict().items()}, tmp_path / "alexnet.safetensors")
    ours = LPIPS(tmp_path / "alexnet.safetensors")
    x = torch.rand(3, 3, 64, 48) * 2 - 1
    y = _noisy(x)
    expected = peer(x, y).flatten()
    assert float(expected.min()) > 0
    torch.testing.assert_close(ours(x, y), expected, atol=0, rtol=1e-4)
    pair = (y.clone().requires_grad_(), y.clone().requires_grad_())
    ours(x, pair[0]).sum().backward()
    peer(x, pair[1]).sum().backward()
    assert pair[0].grad is not None
    torch.testing.assert_close(pair[0].grad, pair[1].grad, atol=1e-8, rtol=1e-3)


@pytest.mark.parametrize("size", [(128, 96), (64, 64), (32, 32)])
def test_equals_the_package(model: LPIPS, peer: nn.Module, photos: Tensor, size: tuple[int, int]) -> None:
    x = photos[:, :, : size[0], : size[1]]
    y = _noisy(x)
    torch.testing.assert_close(model(x, y), peer(x, y).flatten(), atol=1e-5, rtol=0)
    assert float(model(x, x).max()) == 0


def test_gradient_equals_the_package(model: LPIPS, peer: nn.Module, photos: Tensor) -> None:
    y = photos[:2, :, :64, :64]
    ours, theirs = (_noisy(y).requires_grad_() for _ in range(2))
    model(ours, y).sum().backward()
    peer(theirs, y).sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-3)
    assert all(p.grad is None for p in model.parameters())


def test_gradient_is_finite_on_flat_images(model: LPIPS) -> None:
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)
    model(x, torch.ones(1, 3, 64, 64)).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_cached_reference_grey_and_small(model: LPIPS, photos: Tensor) -> None:
    x, y = photos[:, :, :64, :64], _noisy(photos[:, :, :64, :64])
    torch.testing.assert_close(model.distance(model.features(x), model.features(y)), model(x, y))
    torch.testing.assert_close(
        model(x[:, :1], y[:, :1]), model(x[:, :1].repeat(1, 3, 1, 1), y[:, :1].repeat(1, 3, 1, 1))
    )
    up = [nn.functional.interpolate(z[:, :, :16, :24], (32, 48), mode="bilinear") for z in (x, y)]
    torch.testing.assert_close(model(x[:, :, :16, :24], y[:, :, :16, :24]), model(*up))
    with pytest.raises(UserError, match="differ in shape"):
        model(x, y[:1])


def test_metric_per_image_and_per_frame(model: LPIPS, photos: Tensor) -> None:
    x, y = photos[:, :, :64, :64], _noisy(photos[:, :, :64, :64])
    expected = model(x, y)
    torch.testing.assert_close(lpips_metric(x, y, model, chunk=3), expected, atol=1e-6, rtol=1e-5)
    clips = [z.unflatten(0, (2, 2)).transpose(1, 2) for z in (x, y)]  # 2 clips of 2 frames
    torch.testing.assert_close(lpips_metric(*clips, model, chunk=3), expected.view(2, 2), atol=1e-6, rtol=1e-5)
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(64, 64))
    lpips = LpipsConfig().build(model)
    metric = lpips.summary(lpips.values(y, x, signal), signal)
    assert metric.value == pytest.approx(float(expected.mean()), rel=0.02)  # rounded to uint8
    assert "AlexNet" in metric.protocol
    assert np.isfinite(metric.value)


def test_a_missing_package_is_named(trunk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import latentbench.tokenizers.losses.lpips as module

    def absent(name: str) -> importlib.machinery.ModuleSpec | None:
        return None

    monkeypatch.setattr(module, "find_spec", absent)
    with pytest.raises(UserError, match=r"pip install lpips==0\.1\.4"):
        LPIPS(trunk)


def test_a_wrong_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("lpips")
    save_file({"other": torch.zeros(1)}, tmp_path / "alexnet.safetensors")
    with pytest.raises(UserError, match=r"no tensor 'features\.0\.weight'"):
        LPIPS(tmp_path / "alexnet.safetensors")


IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))


def test_the_loss_is_the_mean_over_frames() -> None:
    class Net(nn.Module):
        def on(self, device: torch.device) -> Net:
            return self

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            assert x.shape[1:] == (1, 8, 8)
            return (x - y).abs().flatten(1).mean(1)

    loss = Perceptual(LPIPSConfig(), IMAGE)
    loss.net = Net()  # type: ignore[assignment]
    x, y = torch.randn(2, 1, 5, 8, 8), torch.randn(2, 1, 5, 8, 8)
    torch.testing.assert_close(loss(x, y), (x - y).abs().flatten(1).mean(1))
    torch.testing.assert_close(loss(x[:, :, 0], y[:, :, 0]), (x - y)[:, :, 0].abs().flatten(1).mean(1))


def test_weights_are_asked_for_only_when_training() -> None:
    config = LPIPSConfig(weight=1.0)
    assert config.weights() == ("alexnet_lpips",)
    assert not isinstance(config.build(IMAGE), torch.nn.Module)
