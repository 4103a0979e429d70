"""As many codes as a sample needs (adaptive length or resolution, A14).

In the spirit of ElasticTok (Yan et al. 2024, arXiv 2410.08368).

Shape legend: B batch, H heads, L positions of the whole grid, n of a candidate, N samples, K candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..composed import ComposedTokenizer
from ..spec import LatentSpec
from .adaptive_config import AdaptiveConfig, Rule
from .base import SequenceCoding

# Halvings of the interval in which a level is sought: to a float32's own precision and beyond.
_HALVINGS = 40


class Adaptive(SequenceCoding):
    """Sequences `[B, H, L]` of as many codes as `rule` and `level` say (see `choose`).

    The error is the mean square over the sample, of the reconstruction clamped to [-1, 1]. Before `fit` the level is
    0: no error is accepted that more codes would reduce. A subclass says what the candidates are.
    """

    level: Tensor

    def __init__(self, config: AdaptiveConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.grid, self.rule, self.budget = inner.grid, config.rule, config.mean(inner)
        self.lengths = config.lengths(inner)
        self.register_buffer("level", torch.zeros(()))

    def candidates(self, tokenizer: ComposedTokenizer, signal: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each of `lengths`, codes `[B, H, n]` and what the tokenizer makes of them, `[B, C, *signal]`."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, tokenizer: ComposedTokenizer, signals: Iterable[Tensor]) -> None:
        errors = torch.cat([self._tried(tokenizer, signal)[1].cpu() for signal in signals])
        self.level.copy_(calibrated(errors, torch.tensor(self.lengths), self.budget, self.rule))

    @torch.no_grad()
    def encode(self, tokenizer: ComposedTokenizer, signal: Tensor) -> tuple[Tensor, Tensor]:
        tried, errors = self._tried(tokenizer, signal)
        known = torch.tensor(self.lengths, device=signal.device)
        choice = choose(errors, known, self.level, self.rule)
        sequences = torch.zeros_like(tried[-1])
        for number, codes in enumerate(tried):
            prefix = sequences[:, :, : codes.shape[2]]
            prefix.copy_(torch.where((choice == number).view(-1, 1, 1), codes, prefix))
        return sequences, known[choice]

    def _tried(self, tokenizer: ComposedTokenizer, signal: Tensor) -> tuple[list[Tensor], Tensor]:
        """The codes of every candidate, and errors `[B, K]`."""
        codes, errors = [], []
        for candidate, decoded in self.candidates(tokenizer, signal):
            codes.append(candidate)
            errors.append((decoded.float().clamp(-1, 1) - signal.float()).square().flatten(1).mean(1))
        return codes, torch.stack(errors, dim=1)


def choose(errors: Tensor, lengths: Tensor, level: Tensor, rule: Rule) -> Tensor:
    """Which candidate each sample takes, `[N]`: `errors` `[N, K]` are those of `lengths` `[K]`, which ascend.

    "threshold": the first whose error is at most `level`, else the last. "slope": the least error + level x length.
    """
    if rule == "slope":
        return (errors + level * lengths).argmin(1)
    enough = errors <= level
    enough[:, -1] = True
    return enough.int().argmax(1)


def calibrated(errors: Tensor, lengths: Tensor, budget: float, rule: Rule) -> Tensor:
    """The smallest level (a float32) with which the mean length of these samples is `budget` at most."""

    def fits(level: Tensor) -> bool:
        return bool(lengths[choose(errors, lengths, level, rule)].double().mean() <= budget)

    low, high = errors.new_zeros(()), errors.max()  # at the highest error the shortest candidates are taken
    if fits(low):
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
