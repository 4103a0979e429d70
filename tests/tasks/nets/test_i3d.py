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


# Carreira & Zisserman's figure 3, a sixteenth of the channels: 1x1; 1x1 and 3x3; 1x1 and 3x3; 1x1 behind the pool.
BLOCKS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
BRANCHES = (
    "Branch_0.Conv3d_0a_1x1",
    "Branch_1.Conv3d_0a_1x1",
    "Branch_1.Conv3d_0b_3x3",
    "Branch_2.Conv3d_0a_1x1",
    "Branch_2.Conv3d_0b_3x3",
    "Branch_3.Conv3d_0b_1x1",
)


def _shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of an I3D with a sixteenth of the channels; the released file's wrong name in Mixed_5b is kept."""
    kernels = {
        "Conv3d_1a_7x7": (4, 3, 7, 7, 7),
        "Conv3d_2b_1x1": (4, 4, 1, 1, 1),
        "Conv3d_2c_3x3": (12, 4, 3, 3, 3),
    }
    channels = 12
    for block, widths in BLOCKS.items():
        direct, a, b, c, d, pooled = (width // 16 for width in widths)
        inputs = (channels, channels, a, channels, c, channels)
        for branch, i, o in zip(BRANCHES, inputs, (direct, a, b, c, d, pooled), strict=True):
            name = "Branch_2.Conv3d_0a_3x3" if (block, branch) == ("5b", BRANCHES[4]) else branch
            kernels[f"Mixed_{block}.{name}"] = (o, i, *[3 if branch.endswith("3x3") else 1] * 3)
        channels = direct + b + d + pooled
    shapes = {f"{name}.conv.weight": shape for name, shape in kernels.items()}
    parts = ("bias", "running_mean", "running_var")
    shapes |= {f"{name}.bn.{part}": shape[:1] for name, shape in kernels.items() for part in parts}
    name = "Logits.Conv3d_0c_1x1.conv"
    return {**shapes, f"{name}.weight": (400, channels, 1, 1, 1), f"{name}.bias": (400,)}


def _by_hand(t: dict[str, Tensor], clip: Tensor) -> Tensor:
    """The published graph, nothing folded: `[B, 3, T, 224, 224]` in [-1, 1] to `[B, 400]`."""

    def padded(x: Tensor, kernel: list[int], stride: list[int], value: float) -> Tensor:
        for axis in range(3):  # TensorFlow's "SAME"
            size = x.shape[axis + 2]
            outputs = (size + stride[axis] - 1) // stride[axis]
            total = max(0, (outputs - 1) * stride[axis] + kernel[axis] - size)
            for where, n in (("before", total // 2), ("after", total - total // 2)):
                shape = list(x.shape)
                shape[axis + 2] = n
                edge = torch.full(shape, value, dtype=x.dtype)
                x = torch.cat([edge, x] if where == "before" else [x, edge], axis + 2)
        return x

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = t[f"{name}.conv.weight"]
        x = torch.nn.functional.conv3d(padded(x, list(weight.shape[2:]), [stride] * 3, 0.0), weight, stride=stride)
        mean, var, bias = (
            t[f"{name}.bn.{part}"][:, None, None, None] for part in ("running_mean", "running_var", "bias")
        )
        return ((x - mean) / (var + 1e-3).sqrt() + bias).relu()

    def pool(x: Tensor, kernel: list[int], stride: list[int]) -> Tensor:
        return torch.nn.functional.max_pool3d(padded(x, kernel, stride, -torch.inf), kernel, stride)

    x = unit(clip, "Conv3d_1a_7x7", stride=2)
    x = unit(pool(x, [1, 3, 3], [1, 2, 2]), "Conv3d_2b_1x1")
    x = pool(unit(x, "Conv3d_2c_3x3"), [1, 3, 3], [1, 2, 2])
    for block in BLOCKS:
        if block == "4b":
            x = pool(x, [3, 3, 3], [2, 2, 2])
        if block == "5b":
            x = pool(x, [2, 2, 2], [2, 2, 2])
        names = [f"Mixed_{block}.{branch}" for branch in BRANCHES]
        if block == "5b":
            names[4] = "Mixed_5b.Branch_2.Conv3d_0a_3x3"
        x = torch.cat(
            [
                unit(x, names[0]),
                unit(unit(x, names[1]), names[2]),
                unit(unit(x, names[3]), names[4]),
                unit(pool(x, [3, 3, 3], [1, 1, 1]), names[5]),
            ],
            1,
        )
    # Mean over 2 frames and the whole picture, then logits, then their mean over time.
    pooled = torch.stack([x[:, :, i : i + 2].mean((2, 3, 4)) for i in range(x.shape[2] - 1)])
    weight, bias = t["Logits.Conv3d_0c_1x1.conv.weight"], t["Logits.Conv3d_0c_1x1.conv.bias"]
    return (pooled @ weight.flatten(1).T + bias).mean(0)


def test_random_weights_equal_the_published_graph(random_weights: Callable[..., dict[str, Tensor]]) -> None:
    """17 frames: two positions to average over at the end, and odd sizes to pad on the way."""
    tensors = random_weights("i3d", _shapes())
    levels = torch.randint(0, 256, (2, 3, 5, 4, 4)).float()
    clip = torch.nn.functional.interpolate(levels, (17, 224, 224), mode="nearest") / 127.5 - 1
    net = nets.get("i3d")().load(_signal(17, 224), CPU)
    ours, expected = net(clip), _by_hand(tensors, clip)
    assert ours.shape == (2, 400)
    assert float((ours - expected).norm() / expected.norm()) < 1e-5
    assert float((expected[0] - expected[1]).norm() / expected.norm()) > 0.01


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
