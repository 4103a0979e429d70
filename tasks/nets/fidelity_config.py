"""torch-fidelity's feature extractors as feature nets: their layers, lengths and weights files. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ...tokenizers.part import resolve_target
from ...tokenizers.spec import Modality
from .config import NetConfig


class FidelityConfig(NetConfig):
    """An extractor of torch-fidelity (Obukhov et al. 2020), with its own resizing, under its own name behind a colon.

    `layer` is the one of its layers that its FID is computed on, and `family` says which of its classes it is.
    """

    modalities = (Modality.IMAGE,)
    layer: ClassVar[str]
    family: ClassVar[str]
    builds = "fidelity:FidelityNet"

    @classmethod
    def extractor(cls) -> str:
        """What torch-fidelity calls it."""
        return cls.kind.partition(":")[2]


_RESIZED = "uint8 rounded and clamped; TF1 bilinear resize to"


class _DinoV2Config(FidelityConfig):
    layer = family = "dinov2"


class DinoV2SmallConfig(_DinoV2Config):
    """torch-fidelity's DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv 2304.07193)."""

    kind = "fidelity:dinov2-vit-s-14"
    weights = "dinov2_vits14"
    dim = 384
    unit_flops, unit_bytes = 1.23e10, 6e6
    protocol = f"torch-fidelity's dinov2-vit-s-14, class token 384-d; {_RESIZED} 224"


class DinoV2BaseConfig(_DinoV2Config):
    """torch-fidelity's DINOv2 ViT-B/14 (Oquab et al. 2023, arXiv 2304.07193)."""

    kind = "fidelity:dinov2-vit-b-14"
    weights = "dinov2_vitb14"
    dim = 768
    unit_flops, unit_bytes = 4.63e10, 1.2e7
    protocol = f"torch-fidelity's dinov2-vit-b-14, class token 768-d; {_RESIZED} 224"


class DinoV2LargeConfig(_DinoV2Config):
    """torch-fidelity's DINOv2 ViT-L/14, the net of FDD (Stein et al. 2023, arXiv 2306.04675)."""

    kind = "fidelity:dinov2-vit-l-14"
    weights = "dinov2_vitl14"
    dim = 1024
    unit_flops, unit_bytes = 1.62e11, 1.6e7
    protocol = f"torch-fidelity's dinov2-vit-l-14, class token 1024-d; {_RESIZED} 224"


class _ClipConfig(FidelityConfig):
    layer = family = "clip"

    @classmethod
    def read_weights(cls, path: Path) -> Any:
        """The tensors of OpenAI's file, which is a TorchScript archive, or of a plain one."""
        return resolve_target("fidelity:clip_tensors", beside=__name__)(path)


class ClipBase32Config(_ClipConfig):
    """torch-fidelity's CLIP ViT-B/32, the net of CLIP-FD (Kynkäänniemi et al. 2023, arXiv 2203.06026)."""

    kind = "fidelity:clip-vit-b-32"
    weights = "clip_vit_b_32"
    dim = 512
    unit_flops, unit_bytes = 8.8e9, 2e6
    protocol = f"torch-fidelity's clip-vit-b-32, image embedding 512-d; {_RESIZED} 224"


class ClipLarge14Config(_ClipConfig):
    """torch-fidelity's CLIP ViT-L/14 (Radford et al. 2021, arXiv 2103.00020)."""

    kind = "fidelity:clip-vit-l-14"
    weights = "clip_vit_l_14"
    dim = 768
    unit_flops, unit_bytes = 1.62e11, 1.6e7
    protocol = f"torch-fidelity's clip-vit-l-14, image embedding 768-d; {_RESIZED} 224"


class InceptionCompatConfig(FidelityConfig):
    """torch-fidelity's own Inception of FID: the net that `inception` equals, at its speed; to check against."""

    kind = "fidelity:inception-v3-compat"
    weights = "inception"
    layer, family = "2048", "inception"
    dim = 2048
    unit_flops, unit_bytes = 1.14e10, 1.7e7
    protocol = f"torch-fidelity's inception-v3-compat, pool 2048-d; {_RESIZED} 299"


class Vgg16Config(FidelityConfig):
    """torch-fidelity's VGG16 (Simonyan & Zisserman 2014), the net of improved precision and recall."""

    kind = "fidelity:vgg16"
    weights = "vgg16"
    layer, family = "fc2_relu", "vgg16"
    dim = 4096
    unit_flops, unit_bytes = 3.09e10, 2.6e7
    protocol = f"torch-fidelity's vgg16, second fully connected layer after its ReLU 4096-d; {_RESIZED} 224"
