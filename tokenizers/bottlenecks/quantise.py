"""Vector quantisation as pure functions on rows. H codebooks, N rows, K codes, D entries of a code.

No function builds a one-hot matrix, and none a matrix of distances larger than `BLOCK` numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Scores of one block: on a CPU they should stay in the cache between the product and the maximum, on a GPU fill it.
BLOCK = {"cpu": 2**19, "default": 2**26}


@torch.no_grad()
def nearest(rows: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest code by Euclidean distance: `[H, N, D]`, `[H, K, D]` to `[H, N]` int64.

    argmin |x - e|^2 = argmax (x.e - |e|^2 / 2): one matrix product, then a maximum, block by block. The second term is
    one more entry of each code (and a 1 in each row), which saves a pass over the scores to add it.
    """
    heads, count, _ = rows.shape
    size = codebook.shape[1]
    block = max(1, min(count, BLOCK.get(rows.device.type, BLOCK["default"]) // size))
    codes = torch.empty(heads, count, dtype=torch.long, device=rows.device)
    scores = rows.new_empty(block, size)
    best = rows.new_empty(block)
    for head in range(heads):
        norms = codebook[head].square().sum(-1, keepdim=True)
        columns = torch.cat([codebook[head], norms * -0.5], dim=1).T.contiguous()
        extended = torch.cat([rows[head], rows.new_ones(count, 1)], dim=1)
        for start in range(0, count, block):
            part = extended[start : start + block]
            n = len(part)
            torch.mm(part, columns, out=scores[:n])
            torch.max(scores[:n], dim=1, out=(best[:n], codes[head, start : start + n]))
    return codes


def look_up(codes: Tensor, codebook: Tensor) -> Tensor:
    """The codes' entries: `[H, N]`, `[H, K, D]` to `[H, N, D]`; its gradient reaches the codebook."""
    heads, size, dim = codebook.shape
    offsets = torch.arange(heads, device=codes.device).unsqueeze(1) * size
    return torch.nn.functional.embedding(codes + offsets, codebook.reshape(heads * size, dim))


def sums_per_code(rows: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many rows chose each code, `[H, K]`, and their sum, `[H, K, D]`."""
    heads, _, dim = rows.shape
    flat = (codes + torch.arange(heads, device=codes.device).unsqueeze(1) * size).flatten()
    counts = rows.new_zeros(heads * size).index_add_(0, flat, torch.ones_like(flat, dtype=rows.dtype))
    sums = rows.new_zeros(heads * size, dim).index_add_(0, flat, rows.reshape(-1, dim))
    return counts.view(heads, size), sums.view(heads, size, dim)


class StraightThrough(torch.autograd.Function):
    """Forward the quantised values exactly; backward their gradient to the features unchanged (Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, features: Tensor, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(features: Tensor, values: Tensor) -> Tensor:
    """`values`, with d values / d features taken as the identity."""
    out: Tensor = StraightThrough.apply(features, values)
    return out


@torch.no_grad()
def k_means(rows: Tensor, size: int, iterations: int, *, spherical: bool = False) -> Tensor:
    """Lloyd's algorithm per head from random rows: `[H, N, D]` to `[H, size, D]`.

    Empty clusters restart on random rows. `spherical` keeps the means on the unit sphere, where the rows must lie. With
    fewer rows than codes, rows repeat (dead codes are replaced later, in training).
    """
    codebook = random_rows(rows, size)
    for _ in range(iterations):
        counts, sums = sums_per_code(rows, nearest(rows, codebook), size)
        means = sums / counts.clamp_min(1).unsqueeze(-1)
        if spherical:
            means = torch.nn.functional.normalize(means, dim=-1)
        codebook = torch.where((counts > 0).unsqueeze(-1), means, random_rows(rows, size))
    return codebook


def random_rows(rows: Tensor, size: int) -> Tensor:
    """`size` rows per head from the global generator, without repetition where there are enough: `[H, size, D]`."""
    heads, count, _ = rows.shape
    if count >= size:
        picks = torch.stack([torch.randperm(count, device=rows.device)[:size] for _ in range(heads)])
    else:
        picks = torch.randint(count, (heads, size), device=rows.device)
    return rows.gather(1, picks.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
