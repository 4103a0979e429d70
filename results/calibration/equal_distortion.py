"""Exact bits of codes at equal distortion: what a prior of codes needs, and what would make up for what they lose."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..groups import Group

BITS_AT_EQUAL_PSNR = "bits_at_equal_psnr"
BITS, PSNR = "nll_bits_per_element", "psnr"
_BITS_PER_DB = math.log2(10) / 20  # half a bit for each halving of the squared error


def bits_at_equal_psnr(groups: Sequence[Group]) -> list[dict[int, float]]:
    """By cell and seed bits per element of the signal at the PSNR P of the table's best cell: {} for a cell without
    exact bits or without a PSNR.

    A prior's exact bits of the codes, and (P - PSNR) log2(10)/20: the rate ½ log2(MSE/D) at which what the decoder
    leaves, coded as white Gaussian noise, comes down to the squared error D of the best. No residual of that MSE needs
    more (Cover and Thomas 2006, theorem 10.3.2 and problem 10.8).
    """
    both = [(group.values(BITS), group.values(PSNR)) for group in groups]
    means = [sum(psnr.values()) / len(psnr) for bits, psnr in both if bits and psnr]
    best = max(means, default=0.0)
    return [
        {seed: bits[seed] + (best - psnr[seed]) * _BITS_PER_DB for seed in bits if seed in psnr} for bits, psnr in both
    ]
