"""torch-fidelity's feature extractors with weights from files on this machine.

Their preprocessing and their layers are torch-fidelity's. Their constructors are not: those download what they miss,
unpickle files without restriction, and fetch DINOv2's code from GitHub.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...results.errors import UserError
from ...tokenizers.spec import SignalSpec
from ...tokenizers.weights import Tensors, digest, load
from .fidelity_config import FidelityConfig
from .frozen import FrozenNet, to_rgb, to_uint8_levels


class FidelityNet(FrozenNet):
    """The features of one of torch-fidelity's extractors. Raises UserError for weights of another net."""

    def __init__(self, config: FidelityConfig, signal: SignalSpec, tensors: Tensors) -> None:
        super().__init__(config, signal, note=f"; weights {digest(tensors, ignore=('fc.',))}")
        # The library draws initial weights, which are overwritten: the generator is left as it was.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                extractor = _FAMILIES[config.family](config, tensors)
            except (KeyError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:160]
                raise UserError(f"{tensors.path}: not the weights of {config.extractor()} ({reason})") from None
        self.extractor = extractor.eval().requires_grad_(False)

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, 1 or 3, H, W]` in [-1, 1] to `[B, dim]`."""
        features: Tensor
        (features,) = self.extractor(to_rgb(to_uint8_levels(signal)).to(torch.uint8))
        return features


def clip_tensors(path: Path) -> Tensors:
    """The tensors of a CLIP file: OpenAI's are TorchScript archives, of which nothing is run. Raises UserError."""
    if path.suffix == ".safetensors" or not _is_torchscript(path):
        return load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        try:
            return Tensors(path, torch.jit.load(path, map_location="cpu").state_dict())
        except RuntimeError as error:
            raise UserError(f"{path}: not a readable weights file, fetch it again ({str(error)[:120]!r})") from None


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _dinov2(config: FidelityConfig, tensors: Tensors) -> nn.Module:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

    from .dinov2 import DinoV2

    class Extractor(FeatureExtractorDinoV2):
        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, config.extractor(), [config.layer])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = DinoV2(tensors)

    return Extractor()


def _clip(config: FidelityConfig, tensors: Tensors) -> nn.Module:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP, build_model

    class Extractor(FeatureExtractorCLIP):
        def __init__(self) -> None:
            FeatureExtractorBase.__init__(self, config.extractor(), [config.layer])
            self.feature_extractor_internal_dtype = torch.float32
            self.model = build_model(dict(tensors), torch.float32)
            self.resolution = self.model.visual.input_resolution

    return Extractor()


def _inception(config: FidelityConfig, tensors: Tensors) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}  # of no effect on the pool
    return FeatureExtractorInceptionV3(
        config.extractor(), [config.layer], feature_extractor_weights_path=_in_memory(classifier | tensors)
    )


def _vgg16(config: FidelityConfig, tensors: Tensors) -> nn.Module:
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    return FeatureExtractorVGG16(config.extractor(), [config.layer], feature_extractor_weights_path=_in_memory(tensors))


_FAMILIES: dict[str, Callable[[FidelityConfig, Tensors], nn.Module]] = {
    "dinov2": _dinov2,
    "clip": _clip,
    "inception": _inception,
    "vgg16": _vgg16,
}


def _in_memory(tensors: Mapping[str, Tensor]) -> io.BytesIO:
    """What torch-fidelity reads as a file, with nothing in it but tensors that were read safely."""
    file = io.BytesIO()
    torch.save(dict(tensors), file)
    file.seek(0)
    return file
