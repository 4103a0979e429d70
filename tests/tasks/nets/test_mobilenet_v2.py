"""MobileNetV2's features against torchvision's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import mobilenet_v2
from torchvision.transforms.v2 import functional as T

from latentbench.results.errors import UserError
from latentbench.tasks.features import collect
from latentbench.tasks.nets import nets
from latentbench.tokenizers.spec import Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(48, 40))
CPU = torch.device("cpu")


def _compare(tensors: dict[str, Tensor]) -> None:
    """Asserts that our net, which finds the same tensors, gives the features of torchvision's."""
    peer = mobilenet_v2(weights=None).eval()
    peer.load_state_dict(tensors, strict=False)
    uint8 = torch.randint(0, 256, (3, 3, 48, 40), dtype=torch.uint8)
    ours = collect(nets.get("mobilenet_v2")().load(SIGNAL, CPU), [uint8.float() / 127.5 - 1])
    with torch.inference_mode():
        x = T.resize(uint8.float() / 255, [224, 224], antialias=True)
        x = T.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        theirs = peer.features(x).mean((2, 3))
    assert ours.shape == (3, 1280)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert float((theirs - theirs.mean(0)).norm() / theirs.norm()) > 0.01


@pytest.mark.slow
def test_equals_torchvision(weights_folder: Path) -> None:
    _compare(load_file(weights_folder / "mobilenet_v2_features_imagenet.safetensors"))


def test_random_weights_equal_torchvision(random_weights: Callable[..., dict[str, Tensor]]) -> None:
    """Without the real weights: the same random ones in both."""
    features = mobilenet_v2(weights=None).features.state_dict(prefix="features.")
    _compare(random_weights("mobilenet_v2", {name: tuple(tensor.shape) for name, tensor in features.items()}))


def test_the_protocol_tells_weights_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    protocols = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_file(mobilenet_v2(weights=None).state_dict(), tmp_path / "mobilenet_v2_features_imagenet.safetensors")
        protocols.add(nets.get("mobilenet_v2")().load(SIGNAL, CPU).protocol)
    assert len(protocols) == 2
    wrong = mobilenet_v2(weights=None, width_mult=0.5).state_dict()
    save_file(wrong, tmp_path / "mobilenet_v2_features_imagenet.safetensors")
    with pytest.raises(UserError, match="not MobileNetV2"):
        nets.get("mobilenet_v2")().load(SIGNAL, CPU)
