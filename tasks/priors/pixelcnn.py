"""Gated PixelCNN over codes: masked convolutions without a blind spot, exact likelihood, cached sampling.

Van den Oord et al. 2016 ("Conditional image generation with PixelCNN decoders", section 2.2) have a vertical stack,
which sees all rows so far, and a horizontal one, which sees its own row so far. A grid of R axes gets R stacks: stack
r at position p sees what agrees with p on the axes before r and lies at or before p on axis r, everywhere on later
axes. Its convolution has half a kernel along axis r and a whole one along later axes. Every crossing, from stack j to
a later stack or to the prediction, is shifted by one along axis j; so nothing at or behind p is seen, and all that
comes before p in raster order is, within the reach of the kernels. With one axis this is a gated causal convolution.

Sampling keeps every layer's features and computes each once, when the last code that it depends on is drawn: the
floating-point operations of one forward pass in all, in N small steps.

Shape legend: B batch, C width, N positions, H heads, R axes, *grid the axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.interface import Latents
from ...tokenizers.memory_format import Layout
from ...tokenizers.recompute import RecomputedBlock
from ...tokenizers.spec import LatentSpec
from .code_prior import CodePrior
from .codes import CodeEmbedding, DepthHead, drawing_noise, picker
from .noise import uniform
from .pixelcnn_config import PixelCNNConfig

_CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Place = tuple[int, ...]


class PixelCNNPrior(CodePrior):
    """Next-code prediction over one grid of codes `[B, H, *grid]`, rank 1 to 3, by convolutions.

    The heads of a position follow each other through the same depth network as in `ar`.
    """

    config: PixelCNNConfig

    def __init__(self, config: PixelCNNConfig, spec: LatentSpec) -> None:
        super().__init__(config, spec)
        self.shape, self.sizes = spec.grid.shape, spec.grid.codebook_sizes
        rank, width = len(self.shape), config.width
        self.embedding = CodeEmbedding(self.sizes, width)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(len(self.sizes)))
        self.layout = Layout(rank)
        self.layers = nn.ModuleList(StackLayer(rank, width, config.kernel) for _ in range(config.layers))
        self.crossings = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(rank))
        self.bias = nn.Parameter(torch.randn(width) * 0.02)
        self.out = nn.Linear(width, width)
        self.head = DepthHead(self.sizes, width, config.depth_width or width, config.depth_layers)

    def hidden(self, codes: Tensor) -> Tensor:
        """Summaries `[B, N, C]` of what precedes each position, from codes `[B, H, *grid]`."""
        rank = len(self.shape)
        x = self.embedding(codes.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(len(codes), -1, *self.shape)
        stacks = [self.layout(x)] * rank
        for layer in self.layers:
            stacks = layer(stacks)
        total = self.bias
        for axis, (crossing, features) in enumerate(zip(self.crossings, stacks, strict=True)):
            total = total + crossing(shifted(features, axis).flatten(2).transpose(1, 2))
        return self._summary(total)

    def nll(self, codes: Tensor) -> Tensor:
        """-log p in nats of every code given all before it: `[B, H, *grid]` to `[B, N, H]`."""
        return self.head.nll(self.hidden(codes), codes.flatten(2).transpose(1, 2))

    @torch.no_grad()
    def sample_at(self, indices: range, *, seed: int, cached: bool = True) -> Latents:
        """Codes `[B, H, *grid]` of the samples `indices`; without `cached`, each step runs over the whole grid."""
        batch, positions, heads = len(indices), math.prod(self.shape), len(self.sizes)
        noise = drawing_noise(uniform(seed, indices, (positions, heads))).to(self.device)
        codes = torch.zeros(noise.shape, dtype=torch.long, device=self.device)
        advance = self._cached_step(batch) if cached else self._whole_step()
        pick = picker(self.config)
        for position in range(positions):
            self.head.draw(advance(codes, position), noise[:, position], codes[:, position], pick)
        return Latents(codes=codes.transpose(1, 2).reshape(batch, heads, *self.shape))

    def _summary(self, total: Tensor) -> Tensor:
        return F.relu(self.out(F.relu(total)))

    def _whole_step(self) -> Callable[[Tensor, int], Tensor]:
        def advance(codes: Tensor, position: int) -> Tensor:
            grid = codes.transpose(1, 2).reshape(len(codes), -1, *self.shape)
            return self.hidden(grid)[:, position]

        return advance

    def _cached_step(self, batch: int) -> Callable[[Tensor, int], Tensor]:
        rank, width = len(self.shape), self.config.width
        # features by layer and stack; the first layer's stacks all read the embedded codes
        first = self.bias.new_zeros(batch, width, *self.shape)
        states = [[first] * rank]
        states += [[torch.zeros_like(first) for _ in range(rank)] for _ in self.layers]

        def finish(codes: Tensor, position: int) -> None:
            place = self._place(position)
            first[_at(place)] = self.embedding(codes[:, position : position + 1])[:, 0]
            for axis in range(rank):
                if any(at < size - 1 for at, size in zip(place[axis + 1 :], self.shape[axis + 1 :], strict=True)):
                    continue
                for number, layer in enumerate(self.layers):
                    before, after = states[number], states[number + 1]
                    after[axis][_slice(place[: axis + 1])] = cast(StackLayer, layer).at(before, after, axis, place)

        def advance(codes: Tensor, position: int) -> Tensor:
            if position:
                finish(codes, position - 1)
            place = self._place(position)
            total = self.bias.expand(batch, -1)
            for axis, (crossing, features) in enumerate(zip(self.crossings, states[-1], strict=True)):
                if place[axis]:
                    total = total + crossing(features[_at(_back(place, axis))])
            return self._summary(total)

        return advance

    def _place(self, position: int) -> Place:
        place = []
        for size in reversed(self.shape):
            position, at = divmod(position, size)
            place.append(at)
        return tuple(reversed(place))


class StackLayer(RecomputedBlock):
    """One layer of all stacks: convolution, links from earlier stacks, tanh x sigmoid, residual."""

    def __init__(self, rank: int, width: int, kernel: int) -> None:
        super().__init__()
        make = _CONVOLUTIONS[rank - 1]
        self.behind = kernel // 2  # how far a stack looks back along its own axis
        convolutions, residuals, links = [], [], []
        for axis in range(rank):
            size = (*[1] * axis, self.behind + 1, *[kernel] * (rank - 1 - axis))
            padding = (*[0] * (axis + 1), *[kernel // 2] * (rank - 1 - axis))
            convolutions.append(make(width, 2 * width, size, padding=padding))
            residuals.append(make(width, width, 1))
            links.append(nn.ModuleList(make(width, 2 * width, 1, bias=False) for _ in range(axis)))
        self.convolutions, self.residuals = nn.ModuleList(convolutions), nn.ModuleList(residuals)
        self.links = nn.ModuleList(links)

    def forward(self, stacks: list[Tensor]) -> list[Tensor]:
        """The stacks' features, R times `[B, C, *grid]`, to the next layer's."""
        after: list[Tensor] = []
        for axis, x in enumerate(stacks):
            total = self.convolutions[axis](_padded(x, axis, self.behind))
            for earlier, link in enumerate(cast(nn.ModuleList, self.links[axis])):
                total = total + shifted(link(after[earlier]), earlier)
            after.append(x + self._gate(total, axis))
        return after

    def at(self, before: list[Tensor], after: list[Tensor], axis: int, place: Place) -> Tensor:
        """What `forward` gives for stack `axis` where the axes up to `axis` are at `place`: `[B, C, 1, .., *later]`.

        `before` and `after` hold what is known of this layer's and the next layer's stacks.
        """
        known = before[axis][_slice(place[:axis])]
        end = place[axis] + 1
        window = known.narrow(2 + axis, max(0, end - self.behind - 1), min(end, self.behind + 1))
        total = self.convolutions[axis](_padded(window, axis, max(0, self.behind + 1 - end)))
        for earlier, link in enumerate(cast(nn.ModuleList, self.links[axis])):
            if place[earlier]:
                total = total + link(after[earlier][_slice(_back(place, earlier)[: axis + 1])])
        return before[axis][_slice(place[: axis + 1])] + self._gate(total, axis)

    def _gate(self, total: Tensor, axis: int) -> Tensor:
        value, gate = total.chunk(2, dim=1)
        return self.residuals[axis](torch.tanh(value) * torch.sigmoid(gate))


def shifted(x: Tensor, axis: int) -> Tensor:
    """`[B, C, *grid]` moved by one along a grid axis: zeros first, the last ones lost."""
    return _padded(x.narrow(2 + axis, 0, x.shape[2 + axis] - 1), axis, 1)


def _padded(x: Tensor, axis: int, before: int) -> Tensor:
    rank = x.dim() - 2
    return F.pad(x, [amount for a in reversed(range(rank)) for amount in (before if a == axis else 0, 0)])


def _slice(place: Place) -> tuple[slice, ...]:
    """The index of all samples and channels where the first axes are at `place`, axes kept."""
    return (slice(None), slice(None), *(slice(at, at + 1) for at in place))


def _at(place: Place) -> tuple[slice | int, ...]:
    """The index of all samples and channels at one place."""
    return (slice(None), slice(None), *place)


def _back(place: Place, axis: int) -> Place:
    return tuple(at - (a == axis) for a, at in enumerate(place))
