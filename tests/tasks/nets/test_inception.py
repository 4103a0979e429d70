"""FID's Inception against torch-fidelity's, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.io import decode_image

from latentbench.results.errors import UserError
from latentbench.tasks.features import collect
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.resize import tf1_matrix, tf1_resize
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")


def _spec(height: int, width: int, channels: int = 3) -> SignalSpec:
    return SignalSpec(modality=Modality.IMAGE, channels=channels, shape=(height, width))


def _signal(uint8: Tensor) -> Tensor:
    return uint8.float() / 127.5 - 1


@pytest.fixture(scope="module")
def fidelity_weights(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights as torch-fidelity's strict loader wants them: with a classifier, here of zeros."""
    tensors = load_file(shared_data / "weights" / "fid_inception_2015-12-05_nofc.safetensors")
    tensors |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    path = tmp_path_factory.mktemp("fid") / "inception.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def peer(fidelity_weights: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3("peer", ["2048"], feature_extractor_weights_path=str(fidelity_weights))


@pytest.fixture
def photos(shared_data: Path) -> Tensor:
    files = sorted((shared_data / "images" / "kodak").glob("*.png"))[:4]
    return torch.stack([decode_image(str(f))[:, 64:160, 100:180] for f in files])


@pytest.mark.parametrize("shape", [(32, 32), (48, 97), (299, 299), (512, 300), (1, 1), (2, 1)])
def test_resize_equals_torch_fidelity(shape: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    x = torch.randint(0, 256, (2, 3, *shape)).float()
    ours = tf1_resize(x, tf1_matrix(shape[0], 299), tf1_matrix(shape[1], 299))
    theirs = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("weights_folder")
def test_features_equal_torch_fidelity(photos: Tensor, peer: nn.Module) -> None:
    net = nets.get("inception")().load(_spec(*photos.shape[2:]), CPU)
    ours = collect(net, _signal(photos).split(2))
    with torch.inference_mode():
        theirs = peer(photos)[0]
    assert ours.shape == (4, net.dim)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert float(theirs.std(0).mean()) > 0.05  # the comparison means something: features differ between photos
    grey = photos[:1, :1]
    torch.testing.assert_close(net(_signal(grey)), net(_signal(grey.expand(-1, 3, -1, -1))))
    smaller = photos[:1, :, :40, :50]  # not the size it was loaded for
    with torch.inference_mode():
        torch.testing.assert_close(net(_signal(smaller)), peer(smaller)[0], atol=1e-4, rtol=0)
    half_steps = _signal(photos[:1]) + 0.45 / 127.5  # rounds to the same uint8
    torch.testing.assert_close(net(half_steps), ours[:1], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_random_weights_equal_torch_fidelity(tmp_path: Path, random_weights: Callable[..., dict[str, Tensor]]) -> None:
    """Without the real weights: the same random ones in both."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Peer(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any, **__: Any) -> None:
            """Nothing to load yet: the shapes are needed first."""

    torch.save({}, tmp_path / "empty.pth")
    peer = Peer("peer", ["2048"], feature_extractor_weights_path=str(tmp_path / "empty.pth"))
    shapes = {name: tuple(tensor.shape) for name, tensor in peer.state_dict().items()}
    nn.Module.load_state_dict(peer, random_weights("inception", shapes))
    uint8 = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)  # smooth at 299 pixels, so that features differ
    net = nets.get("inception")().load(_spec(5, 7), CPU)
    with torch.inference_mode():
        ours, theirs = net(_signal(uint8)), peer(uint8)[0]
    assert ours.shape == (2, 2048)
    assert float((theirs[0] - theirs[1]).norm() / theirs.norm()) > 0.02
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    spatial = nets.get("inception_spatial")().load(_spec(5, 7), CPU)
    with torch.inference_mode():
        ours, theirs = spatial(_signal(uint8)), _spatial(peer, uint8)
    assert ours.shape == (2, 2023)
    assert float((theirs[0] - theirs[1]).norm() / theirs.norm()) > 0.02
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


def _spatial(peer: nn.Module, uint8: Tensor) -> Tensor:
    """ADM's spatial features of torch-fidelity's net: `spatial[..., :7]` of mixed_6/conv:0, then a reshape to rows."""
    seen: list[Tensor] = []
    hook = peer.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, output: seen.append(output))  # type: ignore[union-attr, operator]
    with torch.inference_mode():
        peer(uint8)
    hook.remove()
    return seen[0].permute(0, 2, 3, 1)[..., :7].reshape(len(uint8), -1)


@pytest.mark.slow
@pytest.mark.usefixtures("weights_folder")
def test_spatial_features_equal_torch_fidelity_s_layer(photos: Tensor, peer: nn.Module) -> None:
    net = nets.get("inception_spatial")().load(_spec(*photos.shape[2:]), CPU)
    ours, theirs = collect(net, _signal(photos).split(2)), _spatial(peer, photos)
    assert ours.shape == (4, net.dim) == (4, 2023)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert float(theirs.std(0).mean()) > 0.05
    assert float(theirs.min()) == 0  # behind a ReLU


@pytest.mark.usefixtures("weights_folder")
def test_what_it_does_not_serve() -> None:
    net = nets.get("inception")()
    video = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(8, 32, 32), rate=8.0)
    assert net.unsupported_reason(video) is not None
    for signal in (video, _spec(32, 32, channels=4)):
        with pytest.raises(UserError, match="'inception': it serves image"):
            net.load(signal, CPU)


def test_without_weights_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="weights 'inception' not found"):
        nets.get("inception")().load(_spec(32, 32), CPU)
    (tmp_path / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"<html>")
    with pytest.raises(UserError, match="not a readable weights file"):
        nets.get("inception")().load(_spec(32, 32), CPU)
