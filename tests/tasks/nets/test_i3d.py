"""I3D: it recognises an action, and short clips are held."""

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


def _signal(frames: int, size: int) -> SignalSpec:
    return SignalSpec(modality=Modality.VIDEO, channels=3, shape=(frames, size, size), rate=12.0)


@pytest.mark.slow
def test_recognises_dog_training(shared_data: Path, weights_folder: Path, read_clip: Callable[..., Tensor]) -> None:
    labels = (weights_folder / "kinetics400_label_map.txt").read_text().splitlines()
    clip = read_clip(shared_data / "video" / "sam2_01_dog.mp4", frames=16, size=224)
    features = collect(nets.get("i3d")().load(_signal(16, 224), CPU), [clip])
    top = [labels[i] for i in features[0].topk(2).indices.tolist()]
    assert set(top) == {"training dog", "walking the dog"}


@pytest.mark.slow
@pytest.mark.usefixtures("weights_folder")
def test_short_clips_hold_their_last_frame_and_small_ones_are_resized() -> None:
    short = torch.rand(1, 3, 8, 32, 32) * 2 - 1
    net = nets.get("i3d")().load(_signal(8, 32), CPU)
    features = collect(net, [short])
    assert features.shape == (1, 400)
    assert "8 frames held to 9" in net.protocol
    held = torch.cat([short, short[:, :, -1:]], 2)
    uint8 = ((held + 1) * 127.5).round()
    large = torch.nn.functional.interpolate(uint8, size=(9, 224, 224), mode="trilinear", align_corners=False)
    # Interpolated levels are no whole numbers, so the second resize-free pass rounds them: near, not equal.
    by_hand = collect(net, [large / 127.5 - 1])
    assert float((by_hand - features).norm() / features.norm()) < 0.02
    assert float((features - collect(net, [short.flip(2)])).norm() / features.norm()) > 0.02  # order matters
