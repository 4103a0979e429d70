"""torch-fidelity's extractors as nets: their own classes, with random weights of the right shapes in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.nets import nets
from latentbench.tokenizers import weights
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")
IMAGES = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(24, 24))
Shapes = dict[str, tuple[int, ...]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Shapes], dict[str, Tensor]]:
    """`(weights, shapes)`: random tensors of such shapes, where the weights are looked for."""

    def put(name: str, shapes: Shapes) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        tensors = {key: random(key, shape, generator) for key, shape in shapes.items()}
        filename = next(f for f in weights.known[name].filenames if not f.endswith(".safetensors"))
        torch.save(tensors, tmp_path / filename)
        monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
        return tensors

    return put


def random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith(("var", "gamma")) or (len(shape) == 1 and name.endswith("weight")):
        return 0.5 + torch.rand(shape, generator=generator)
    numbers = torch.Size(shape).numel()
    # A prime number of values over and over are as good as new ones, and far cheaper where there are 10^8.
    values = torch.randn(min(numbers, 1_000_003), generator=generator)
    values = values.repeat(-(-numbers // len(values)))[:numbers].view(shape)
    return values * 0.1 if len(shape) < 2 else values * (2 / values[0].numel()) ** 0.5


def pictures(n: int) -> tuple[Tensor, Tensor]:
    """uint8 `[n, 3, 24, 24]`, and as signals in [-1, 1]."""
    uint8 = torch.randint(0, 256, (n, 3, 4, 4), generator=torch.Generator().manual_seed(1)).float()
    uint8 = nn.functional.interpolate(uint8, (24, 24), mode="bilinear").round()
    return uint8.to(torch.uint8), uint8 / 127.5 - 1


def dinov2(width: int, depth: int) -> Shapes:
    block = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    shapes: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1370, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        **dict.fromkeys(("patch_embed.proj.bias", "norm.weight", "norm.bias"), (width,)),
    }
    for i in range(depth):
        for name, (rows, columns) in block.items():
            shapes[f"blocks.{i}.{name}.weight"] = (rows * width, columns * width)
            shapes[f"blocks.{i}.{name}.bias"] = (rows * width,)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{i}.{name}"] = (width,)
    return shapes


def clip(width: int, depth: int, patch: int, grid: int, dim: int) -> Shapes:
    """The image tower of an OpenAI file, and the one tensor of the text tower that its builder looks at."""
    shapes: Shapes = {
        "text_projection": (dim, dim),
        "logit_scale": (),
        "visual.proj": (width, dim),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (grid**2 + 1, width),
        "visual.conv1.weight": (width, 3, patch, patch),
        **{f"visual.ln_{x}.{part}": (width,) for x in ("pre", "post") for part in ("weight", "bias")},
    }
    for i in range(depth):
        at = f"visual.transformer.resblocks.{i}"
        shapes |= {f"{at}.attn.in_proj_weight": (3 * width, width), f"{at}.attn.in_proj_bias": (3 * width,)}
        for name, rows, columns in (("attn.out_proj", 1, 1), ("mlp.c_fc", 4, 1), ("mlp.c_proj", 1, 4)):
            shapes |= {f"{at}.{name}.weight": (rows * width, columns * width), f"{at}.{name}.bias": (rows * width,)}
        shapes |= {f"{at}.ln_{n}.{part}": (width,) for n in (1, 2) for part in ("weight", "bias")}
    return shapes


def resized(uint8: Tensor, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """torch-fidelity's preprocessing by plain indexing: TF1's bilinear resize is at i * source / size."""
    position = torch.arange(size) * (uint8.shape[-1] / size)
    low = position.long()
    share = (position - low).float()
    high = (low + 1).clamp_max(uint8.shape[-1] - 1)
    x = uint8.float()
    x = x[:, :, low] * (1 - share)[:, None] + x[:, :, high] * share[:, None]
    x = x[..., low] * (1 - share) + x[..., high] * share
    return (x / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def test_dinov2_is_found_and_reads_as_torch_fidelity_does(
    install: Callable[[str, Shapes], dict[str, Tensor]],
) -> None:
    from latentbench.tasks.nets.dinov2 import DinoV2
    from latentbench.tokenizers.weights import Tensors

    tensors = install("dinov2_vits14", dinov2(384, 2))  # two of the twelve blocks: a test's share of the time
    before = torch.random.get_rng_state()
    net = nets.get("fidelity:dinov2-vit-s-14")().load(IMAGES, CPU)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(p.requires_grad for p in net.parameters())
    uint8, signal = pictures(2)
    with torch.inference_mode():
        features = net(signal)
        expected = DinoV2(Tensors(Path("x"), tensors))(resized(uint8, 224, *IMAGENET))
    assert features.shape == (2, net.dim) == (2, 384)
    torch.testing.assert_close(features, expected, atol=2e-4, rtol=1e-3)
    assert "torch-fidelity's dinov2-vit-s-14" in net.protocol
    assert "weights" in net.protocol


class Archive(nn.Module):
    """Tensors under their names, as OpenAI's TorchScript files hold them."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            *path, last = name.split(".")
            here: nn.Module = self
            for part in path:
                if not hasattr(here, part):
                    here.add_module(part, nn.Module())
                here = getattr(here, part)
            here.register_parameter(last, nn.Parameter(tensor.half(), requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("form", ["torchscript", "plain"])
def test_clip_is_found_in_openais_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = clip(width=768, depth=1, patch=32, grid=7, dim=512)
    tensors = {name: random(name, shape, generator) for name, shape in shapes.items()}
    path = tmp_path / "ViT-B-32.pt"
    if form == "torchscript":
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(Archive(tensors)).save(path)
    else:
        torch.save({name: tensor.half() for name, tensor in tensors.items()}, path)
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    net = nets.get("fidelity:clip-vit-b-32")().load(IMAGES, CPU)
    uint8, signal = pictures(2)
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    with torch.inference_mode():
        features = net(signal)
        expected = net.extractor.model.visual(resized(uint8, 224, mean, std))
    assert features.shape == (2, 512)
    torch.testing.assert_close(features, expected, atol=1e-3, rtol=1e-3)
    assert float((features[0] - features[1]).abs().mean()) > 1e-3
    state = net.extractor.model.state_dict()
    torch.testing.assert_close(state["visual.conv1.weight"], tensors["visual.conv1.weight"].half().float())


@pytest.mark.slow
def test_vgg_is_found_and_equals_torchvision(install: Callable[[str, Shapes], dict[str, Tensor]]) -> None:
    import torchvision

    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in torchvision.models.vgg16().state_dict().items()}
    tensors = install("vgg16", shapes)
    net = nets.get("fidelity:vgg16")().load(IMAGES, CPU)
    uint8, signal = pictures(1)
    with torch.device("meta"):
        peer = torchvision.models.vgg16()
    peer.load_state_dict(tensors, assign=True)
    with torch.inference_mode():
        x = peer.features(resized(uint8, 224, *IMAGENET)).flatten(1)
        expected = peer.classifier[:5].eval()(x)
        features = net(signal)
    assert features.shape == (1, 4096)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-3)


def inception() -> Shapes:
    """The names and shapes of torch-fidelity's file, of a net that is given none."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Empty(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *_: object, **__: object) -> None:
            """Nothing to load yet: the shapes are needed first."""

    import io

    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    return {
        k: tuple(v.shape) for k, v in Empty("x", ["2048"], feature_extractor_weights_path=file).state_dict().items()
    }


@pytest.mark.slow
def test_ours_agrees_with_torch_fidelitys_inception(install: Callable[[str, Shapes], dict[str, Tensor]]) -> None:
    """The reason why our faster Inception is the default: rFID within 1e-3 of theirs, here with random weights."""
    install("inception", {k: v for k, v in inception().items() if not k.startswith("fc.")})
    mine, theirs = (nets.get(name)().load(IMAGES, CPU) for name in ("inception", "fidelity:inception-v3-compat"))
    _, signal = pictures(3)
    damaged = (signal + 0.2 * torch.randn(signal.shape)).clamp(-1, 1)
    with torch.inference_mode():
        ours, others = ((net(signal), net(damaged)) for net in (mine, theirs))
    distances = [frechet_distance(two, FrechetReference.of(one)) for one, two in (ours, others)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)
    assert distances[1] > 0.1


def test_what_is_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Callable[[str, Shapes], dict[str, Tensor]]
) -> None:
    net = nets.get("fidelity:dinov2-vit-l-14")()
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    with pytest.raises(
        UserError, match=r"'dinov2_vitl14' not found: looked for dinov2_vitl14_pretrain\.pth in"
    ) as told:
        net.load(IMAGES, CPU)
    assert "put it there" in str(told.value)
    install("dinov2_vitl14", {"other": (1,)})
    with pytest.raises(UserError, match=r"no tensor 'patch_embed\.proj\.weight'"):
        net.load(IMAGES, CPU)
    install("dinov2_vitl14", {**dinov2(64, 1), "head.weight": (1, 1)})
    with pytest.raises(UserError, match="not the weights of dinov2-vit-l-14"):
        net.load(IMAGES, CPU)
    (tmp_path / "ViT-B-32.pt").write_bytes(b"<html>")
    with pytest.raises(UserError, match="not a readable weights file"):
        nets.get("fidelity:clip-vit-b-32")().load(IMAGES, CPU)
