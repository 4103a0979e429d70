"""How far codes can be compressed by a mixture over contexts of every depth: context-tree weighting.

Shape legend: N samples, H heads, *grid the axes of a latent, K a codebook's size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.balls import evenly
from .interface import Proxy, ProxyInput, Value, metric

DEPTH = 3
TOKENS = 1 << 17
_LEAST = 10


def contexts(codes: Tensor, head: int, size: int, depth: int = DEPTH) -> Tensor:
    """What stands before each code of a head, the most telling first: `[N, H, *grid]` to `[N, *grid, depth or less]`.

    The head before it at its position, its neighbours one step back along every axis from the last axis on, then those
    two and more steps back on the last axis longer than 1; beyond the border stands `size`.
    """
    own = codes[:, head]
    long = [axis for axis in range(own.ndim - 1, 0, -1) if own.shape[axis] > 1]
    steps = [(axis, 1) for axis in long] + [(axis, back) for axis in long[:1] for back in range(2, depth + 1)]
    columns = [codes[:, head - 1]] if head else []
    for axis, back in steps[:depth]:
        column = torch.full_like(own, size)
        if back < own.shape[axis]:
            column.narrow(axis, back, own.shape[axis] - back).copy_(own.narrow(axis, 0, own.shape[axis] - back))
        columns.append(column)
    columns = columns[:depth]
    return torch.stack(columns, -1) if columns else own.new_zeros(*own.shape, 0)


def block_log2(counts: Tensor, node: Tensor, nodes: int, size: int) -> Tensor:
    """log2 of the probability of each node's codes in sequence: counts `[m]` > 0 at nodes `[m]` to `[nodes]` float64.

    The even mixture of the Dirichlet estimators of weight 1/2 (Krichevsky and Trofimov 1981) and 1/K a code: the first
    is the best for codes that all occur, the second where few of many do.
    """
    counts = counts.double()
    total = torch.zeros(nodes, dtype=torch.float64).index_add_(0, node, counts)
    logs = []
    for weight in (0.5, 1 / size):
        each = torch.lgamma(counts + weight) - math.lgamma(weight)
        of_node = torch.zeros(nodes, dtype=torch.float64).index_add_(0, node, each)
        logs.append(of_node + math.lgamma(size * weight) - torch.lgamma(total + size * weight))
    return (torch.logaddexp(*logs) - math.log(2)) / math.log(2)


def mixture_bits(codes: Tensor, before: Tensor, size: int) -> float:
    """The bits of codes `[n]` in 0..size - 1, each after its context `[n, depth]`, by context-tree weighting.

    Willems, Shtarkov and Tjalkens 1995 (IEEE Transactions on Information Theory 41, equation 10): a node's codes have
    the probability ½ P(as one source) + ½ Π over longer contexts, at the full depth the first alone. It is the
    length of a code that learns as it goes, with all that it costs to learn: nothing is held out, and
    fewer codes have more bits each.
    """
    node = torch.zeros(len(codes), dtype=torch.int64)
    blocks, parents = [], []
    for depth in range(before.shape[1] + 1):
        if depth:
            child = node * (int(before.max()) + 1) + before[:, depth - 1]
            keys, child = child.unique(return_inverse=True)
            parents.append(torch.div(keys, int(before.max()) + 1, rounding_mode="floor"))
            node = child
        pairs, counts = (node * size + codes).unique(return_counts=True)
        blocks.append(block_log2(counts, torch.div(pairs, size, rounding_mode="floor"), int(node.max()) + 1, size))
    weighted = blocks.pop()
    while blocks:
        block = blocks.pop()
        longer = torch.zeros_like(block).index_add_(0, parents.pop(), weighted)
        weighted = torch.logaddexp(block * math.log(2), longer * math.log(2)) / math.log(2) - 1
    return -float(weighted[0])


def mixing_rate(codes: Tensor, sizes: tuple[int, ...], depth: int = DEPTH) -> float:
    """Bits per position of codes `[N, H, *grid]`, summed over heads."""
    bits = 0.0
    for head, size in enumerate(sizes):
        before = contexts(codes, head, size, depth)
        bits += mixture_bits(codes[:, head].flatten(), before.flatten(0, -2), size)
    return bits / codes[:, 0].numel()


class CodeMixing(Proxy):
    """See `CodeMixingConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.codes is None:
            return ()
        codes = latents.codes
        value: Value = None
        if len(codes) >= _LEAST and codes.numel():
            part = codes[evenly(len(codes), max(_LEAST, TOKENS // codes[0].numel()))]
            value = mixing_rate(part, latents.codebook_sizes)
        protocol = (
            f"bits per position of up to {TOKENS} codes by context-tree weighting over 0 to {DEPTH} causal neighbours, "
            "summed over heads, learning included; compare at equal numbers of codes"
        )
        return (metric("code_mixing_bits", value, latents, direction="none", unit="bit", protocol=protocol),)
