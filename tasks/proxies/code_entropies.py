"""What a code tells of the next: entropy rates and mutual information of neighbours, estimated without their bias.

Shape legend: N samples, H heads, *grid the axes of a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ...results.metric import Metric
from ..metrics.entropy import TOKENS_PER_CODE, enough_tokens, entropy_bits
from ..metrics.jackknife import delete_a_group, group_of
from .interface import Proxy, ProxyInput, Value, metric

ORDERS = (1, 2, 3)
_GROUPS = 5


def windows(codes: Tensor, length: int, axis: int = -1) -> Tensor:
    """Runs of `length` neighbouring codes along an axis: `[N, *grid]` to `[n, length]`; none where it is shorter."""
    if codes.shape[axis] < length:
        return codes.new_zeros(0, length)
    return codes.unfold(axis if axis >= 0 else codes.ndim + axis, length, 1).reshape(-1, length)


def block_entropy(blocks: Tensor) -> float:
    """The entropy in bits of the rows of `[n, length]`, corrected for the number of rows; NaN where fewer than 5 rows
    come to each that occurs."""
    base = int(blocks.max()) + 1 if blocks.numel() else 1
    key = blocks.new_zeros(len(blocks))
    for column in blocks.unbind(1):  # runs as numbers, which sort faster than rows
        if len(key) and int(key.max()) >= (1 << 62) // base:
            key = torch.unique(key, return_inverse=True)[1]
        key = key * base + column
    counts = torch.unique(key, return_counts=True)[1]
    return entropy_bits(counts) if enough_tokens(counts.double()) else float("nan")


def entropy_rate(codes: Tensor, order: int) -> float:
    """Bits of a code after the `order` codes before it on the last axis, summed over heads: `[N, H, *grid]`.

    H(order + 1 codes) - H(order codes) of the same runs; NaN where one of them can't be estimated.
    """
    total = 0.0
    for head in range(codes.shape[1]):
        runs = windows(codes[:, head], order + 1)
        total += block_entropy(runs) - block_entropy(runs[:, :-1])
    return max(0.0, total) if math.isfinite(total) else float("nan")


def mutual_information(codes: Tensor) -> float:
    """Bits that a code and its neighbour share, the mean over axes of two codes or more, summed over heads."""
    total = []
    for axis in range(2, codes.ndim):
        if codes.shape[axis] < 2:
            continue
        of_axis = 0.0
        for head in range(codes.shape[1]):
            pairs = windows(codes[:, head], 2, axis - 1)
            of_axis += block_entropy(pairs[:, :1]) + block_entropy(pairs[:, 1:]) - block_entropy(pairs)
        total.append(of_axis)
    mean = sum(total) / len(total) if total else float("nan")
    return max(0.0, mean) if math.isfinite(mean) else float("nan")


class CodeEntropies(Proxy):
    """See `CodeEntropiesConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.codes is None:
            return ()
        codes = latents.codes
        rows: list[tuple[str, Callable[[Tensor], float], str]] = [
            (
                f"code_entropy_order_{k}",
                partial(entropy_rate, order=k),
                f"after {k} before it on the last axis",
            )
            for k in ORDERS
        ]
        rows.append(("code_mutual_information", mutual_information, "shared with its neighbour, the mean over axes"))
        metrics = []
        for name, statistic, what in rows:
            value: Value = None
            number = statistic(codes) if codes.numel() else float("nan")
            protocol = f"bits of a code {what}, summed over heads; Chao's estimator"
            if math.isfinite(number):
                left_out = []
                for part in group_of(len(codes), _GROUPS):
                    rest = torch.ones(len(codes), dtype=torch.bool)
                    rest[part] = False
                    left_out.append(statistic(codes[rest]))
                value = (number, *delete_a_group(left_out))
            else:
                protocol += f"; withheld: fewer than {TOKENS_PER_CODE} tokens per run of codes that occurs"
            metrics.append(metric(name, value, latents, direction="none", unit="bit", protocol=protocol))
        return tuple(metrics)
