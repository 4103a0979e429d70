"""What a scramble is to the tokenizer that it wraps, and what several of them compute.

Shape legend: B batch, C channels, H heads, *grid the axes of a latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..interface import Latents


class Scramble(nn.Module):
    """A change of one grid of latents that can be undone; `level` is the grid's place in a hierarchy."""

    def scramble(self, latents: Latents, level: int) -> Latents:
        """The encoder's latents (values, codes, scale as far as there are) as a prior is to see them."""
        raise NotImplementedError

    def undo(self, latents: Latents, level: int) -> Latents:
        """The inverse, for the decoder. A prior's samples may have codes alone, or values alone, and no `key`."""
        raise NotImplementedError


def sample_keys(values: Tensor, seed: int) -> Tensor:
    """A whole number per sample, `[B, C, *grid]` to `[B]` int64: a hash of the bits of its float32 values.

    It makes chance repeatable without an index: the same latents have the same key, in any batch.
    """
    bits = values.float().contiguous().view(torch.int32).flatten(1).long()
    generator = torch.Generator().manual_seed(seed)
    weights = 2 * torch.randint(-(2**61), 2**61, (bits.shape[1],), generator=generator) + 1
    return (bits * weights.to(bits.device)).sum(1)


def words(keys: Tensor, count: int) -> Tensor:
    """`count` random words per key, `[B]` to `[B, count]` int64: splitmix64 (Steele et al. 2014, figure 17)."""
    steps = torch.arange(1, count + 1, device=keys.device) * -7046029254386353131
    x = keys[:, None] + steps
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
