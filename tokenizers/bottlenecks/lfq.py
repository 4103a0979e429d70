"""Lookup-free, binary quantisation (LFQ, A8): Yu et al. 2023 (MAGVIT-v2, arXiv 2310.05737), section 3.1."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import ranks
from ..interface import Latents
from ..spec import LatentSpec
from .base import Bottleneck, BottleneckOutput
from .lfq_config import LFQConfig
from .quantise import straight_through

_SURE = 1e-6


def bit_entropies(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """E[H(q(z))] and H of E[q(z)], in nats per bit: `[B, C, *grid]` to two scalars, means over the C bits.

    With q(c|z) = softmax over the codes c in {-1, 1}^C of -|z - c|^2 / temperature, the bits are independent given z
    and P(bit i = 1) = sigmoid(4 z_i / temperature): the first entropy over all 2^C codes is exactly the sum over bits.
    The second is of bits averaged over batch and positions, taken as independent: an upper bound of the codes' own.
    """
    logits = 4 / temperature * features
    probability = torch.sigmoid(logits)
    # H = ln(1 + e^l) - p l, which keeps its precision where p is nearly 0 or 1.
    each = (F.softplus(logits) - probability * logits).mean()
    # A bit that never changes has an infinite derivative of H, and none of p: it gets no gradient.
    shares = ranks.averaged(probability.transpose(0, 1).flatten(1).mean(1)).clamp(_SURE, 1 - _SURE)
    return each, (torch.special.entr(shares) + torch.special.entr(1 - shares)).mean()


def code_diversity(features: Tensor, temperature: float, heads: int) -> Tensor:
    """H of E[q(z)] over the heads' codes, exactly, in nats per bit: `[B, C, *grid]` to a scalar, a mean over heads.

    As bits are independent given z, q(c|z) is the product of the probabilities of its first and of its last bits: the
    mean over positions of all 2^d codes is one product of matrices `[2^(d/2), positions]`, and q itself is never built.
    """
    logits = 4 / temperature * features.flatten(2).transpose(1, 2).flatten(0, 1).unflatten(1, (heads, -1))
    bits = logits.shape[2]
    first, last = (_code_probabilities(part) for part in logits.split([bits // 2, bits - bits // 2], dim=2))
    shares = ranks.averaged(torch.einsum("nha,nhb->hab", first, last) / len(logits))
    return torch.special.entr(shares).sum() / (heads * bits)


def _code_probabilities(logits: Tensor) -> Tensor:
    """`[n, H, d]` logits of bits to the probabilities of all combinations, `[n, H, 2^d]`."""
    result = logits.new_ones(*logits.shape[:2], 1)
    for bit in logits.sigmoid().unbind(2):
        each = torch.stack([1 - bit, bit], dim=2)
        result = (result.unsqueeze(3) * each.unsqueeze(2)).flatten(2)
    return result


class LFQ(Bottleneck):
    """Every channel is one bit, its sign: values are -1 and 1 (zero counts as -1), gradients pass straight through.

    A head's code is sum over its channels of 2^i [z_i > 0], its first channel the lowest bit. Losses:
    entropy x (E[H(q)] - diversity H(E[q])) per bit (equation 4; see `bit_entropies`) makes each choice certain and all
    codes used, and commitment x mean (z - sign z)^2. With `joint` the second entropy is the codes' own (see
    `code_diversity`) instead of its upper bound by independent bits. The implicit codebook is never built.
    """

    radix: Tensor

    def __init__(self, config: LFQConfig, spec: LatentSpec, *, features: int) -> None:
        super().__init__(config, spec, features=features)
        self.config = config
        self.register_buffer("radix", 2 ** torch.arange(spec.grid.channels // config.heads), persistent=False)

    def forward(self, features: Tensor) -> BottleneckOutput:
        config, x = self.config, features.float()
        values = _signs(x.detach())
        each, overall = bit_entropies(x, config.temperature)
        if config.joint:
            overall = code_diversity(x, config.temperature, config.heads)
        losses = {
            "entropy": config.entropy * (each - config.diversity * overall),
            "commitment": config.commitment * F.mse_loss(x, values),
        }
        logs = {"bit_entropy": each.detach(), "bit_diversity": overall.detach()}
        return BottleneckOutput(values=straight_through(x, values), losses=losses, logs=logs)

    def encode(self, features: Tensor) -> Latents:
        heads = (features > 0).unflatten(1, (self.config.heads, -1))
        codes = (heads * self._along(features)).sum(2)
        return Latents(values=_signs(features.float()), codes=codes)

    def lookup(self, codes: Tensor) -> Tensor:
        """`[B, H, *grid]` codes to values `[B, C, *grid]`."""
        bits = codes.unsqueeze(2) // self._along(codes) % 2
        return (2 * bits - 1).float().flatten(1, 2)

    def _along(self, like: Tensor) -> Tensor:
        return self.radix.view(1, 1, -1, *(1,) * (like.ndim - 2))


def _signs(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1.0, -1.0)
