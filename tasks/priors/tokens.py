"""What the priors of continuous tokens share: patches as tokens, and a transformer over them.

Shape legend: B batch, N tokens, P values per token, D width, C channels, *grid the latents' axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...tokenizers.backbones.attention import AxialEmbedding
from ...tokenizers.spec import LatentSpec
from ..latents import LatentBatch
from .conditioning import LabelledPrior
from .fields import values_of
from .flow import patchify, unpatchify
from .options import TokenTransformerOptions
from .transformer import Transformer


class TokenPrior(LabelledPrior):
    """A prior over the tokens of one grid of values `[B, C, *grid]`, rank 1 to 3."""

    inside: Tensor

    def __init__(self, config: TokenTransformerOptions, spec: LatentSpec, *, causal: bool) -> None:
        super().__init__(config, spec)
        self.shape, self.patch = spec.grid.shape, config.patch_for(spec)
        self.elements = config.patch_elements(spec)
        self.count = math.prod(config.patches_for(spec))
        self.trunk = TokenTrunk(self.elements, config.patches_for(spec), config, causal=causal)
        self.add_labels(config.width)
        # 0 where a patch reaches beyond the grid
        inside = patchify(torch.ones(1, spec.grid.channels, *self.shape), self.patch)[0]
        self.register_buffer("inside", inside, persistent=False)

    def tokens(self, batch: LatentBatch) -> Tensor:
        """The batch's values as tokens `[B, N, P]`."""
        return patchify(values_of(batch), self.patch)

    def values(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, N, P]` as values `[B, C, *grid]`."""
        return unpatchify(tokens, self.patch, self.shape)


class TokenTrunk(nn.Module):
    """A transformer over tokens: causal, or over known and masked ones alike.

    A token before all carries the label. What tells frames apart (`config.attention`) has no place for one among the
    known and masked: there it is added to every token.
    """

    def __init__(self, elements: int, grid: tuple[int, ...], config: TokenTransformerOptions, *, causal: bool) -> None:
        super().__init__()
        width = config.width
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.masked = None if causal else nn.Parameter(torch.randn(width) * 0.02)
        self.embed = nn.Linear(elements, width)
        self.position = AxialEmbedding(grid, width)
        self.frame = config.positions_per_frame(grid)
        self.net = Transformer(
            width, config.layers, config.attention_heads, causal=causal, dropout=config.dropout, frame=self.frame
        )

    def first(self, batch: int, vector: Tensor | None) -> Tensor:
        """The token before all, `[B, 1, D]`; it carries the label."""
        start = self.start.expand(batch, 1, -1)
        return start if vector is None else start + vector[:, None]

    def before(self, tokens: Tensor, vector: Tensor | None) -> Tensor:
        """Summaries `[B, N, D]` of what precedes each of the tokens `[B, N, P]` (causal)."""
        x = torch.cat((self.first(len(tokens), vector), self.embed(tokens[:, :-1])), dim=1)
        return self.net(x + self.position()[: x.shape[1]])

    def around(self, tokens: Tensor, known: Tensor, vector: Tensor | None) -> Tensor:
        """Summaries `[B, N, D]` of the tokens `[B, N, P]` that are `known` (bool `[B, N]`), for each position."""
        assert self.masked is not None
        x = torch.where(known[..., None], self.embed(tokens), self.masked) + self.position()
        first = self.first(len(tokens), vector)
        return self.net(torch.cat((first, x), dim=1))[:, 1:] if self.frame is None else self.net(x + first)

    def stepper(self, batch: int, length: int, vector: Tensor | None) -> Callable[[Tensor | None, int], Tensor]:
        """`step(token [B, P] at position - 1, position)`: summaries `[B, D]` in order, with a KV cache (causal)."""
        cache, positions = self.net.cache(batch, length), self.position()

        def step(token: Tensor | None, position: int) -> Tensor:
            x = self.first(batch, vector) if token is None else self.embed(token)[:, None]
            return self.net(x + positions[position], cache=cache)[:, 0]

        return step
