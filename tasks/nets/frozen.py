"""What the pretrained nets share: frozen convolutions with batch norm folded in, and their inputs' first steps."""

from __future__ import annotations

from torch import Tensor

from ...tokenizers.spec import SignalSpec
from ..interface import FeatureNet
from .config import NetConfig


class FrozenNet(FeatureNet):
    """A feature net as its configuration describes it; `note` joins the protocol: which weights, what they met."""

    def __init__(self, config: NetConfig, signal: SignalSpec, *, note: str = "") -> None:
        super().__init__()
        self.name, self.dim, self.reads = config.kind, config.dim, config.reads
        self.protocol = config.protocol + note
        self.blind_to, self.at_once = config.blind_to, config.at_once(signal)


def fold_batch_norm(
    weight: Tensor, *, gamma: Tensor | None, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals `weight` followed by batch norm in evaluation.

    `weight` is `[out, in, *kernel]`; `gamma` None stands for ones. Computed in float64, returned in float32.
    """
    scale = (var.double() + eps).rsqrt()
    if gamma is not None:
        scale = scale * gamma.double()
    bias = beta.double() - mean.double() * scale
    folded = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
    return folded.float(), bias.float()


def to_rgb(x: Tensor) -> Tensor:
    """Grey `[B, 1, ...]` repeated to three channels; colour as it is."""
    return x.expand(-1, 3, *x.shape[2:]) if x.shape[1] == 1 else x


def to_uint8_levels(x: Tensor) -> Tensor:
    """[-1, 1] to the whole numbers 0..255 in float32: what an 8-bit file of the picture would hold (round, clamp)."""
    return ((x.float() + 1) * 127.5).round_().clamp_(0, 255)
