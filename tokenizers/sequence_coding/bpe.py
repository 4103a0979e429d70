"""Merged codes (BPE, A16): byte pair encoding (Gage 1994; Sennrich et al. 2016, arXiv 1508.07909) over code sequences.

Shape legend: B batch, H heads, *grid positions, S = positions x H symbols, V vocabulary, M = V - sum of codebooks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..spec import LatentSpec
from .base import SequenceCoding
from .bpe_config import PRIVATE, BPEConfig


class BPE(SequenceCoding):
    """Symbols are the heads' codes, the heads of a position in turn; head j's codes follow those of the heads before.

    `merges` `[M, 2]` are the pairs in the order in which they are merged (-1: no pair is left that occurs twice); merge
    m makes the symbol base + m.
    """

    merges: Tensor

    def __init__(self, config: BPEConfig, inner: LatentSpec) -> None:
        super().__init__()
        self.grid = inner.grid
        self.base = sum(inner.grid.codebook_sizes)
        self.register_buffer("merges", torch.full((config.vocabulary - self.base, 2), -1))
        starts = np.cumsum([0, *inner.grid.codebook_sizes])
        self._starts, self._sizes = torch.from_numpy(starts[:-1]), torch.tensor(inner.grid.codebook_sizes)
        self._model: tuple[Any, list[np.ndarray]] | None = None

    @torch.no_grad()
    def fit_codes(self, codes: Iterable[Tensor]) -> None:
        from tokenizers import Tokenizer, models, trainers

        model = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=self.base + len(self.merges),
            initial_alphabet=[_character(i) for i in range(self.base)],
            limit_alphabet=self.base,
            min_frequency=2,
            show_progress=False,
        )
        texts = (text for batch in codes for text in self._texts(batch))
        model.train_from_iterator(texts, trainer)
        pairs = json.loads(model.to_str())["model"]["merges"]
        known = {_character(i): i for i in range(self.base)}
        rows = []
        for first, second in pairs:
            rows.append((known[first], known[second]))
            known[first + second] = len(known)
        self.merges.fill_(-1)
        if rows:
            self.merges[: len(rows)] = torch.tensor(rows, device=self.merges.device)
        self._model = None

    def encode_codes(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        model, _ = self._tables()
        rows = [encoding.ids for encoding in model.encode_batch(list(self._texts(codes)))]
        lengths = torch.tensor([len(row) for row in rows])
        sequences = torch.zeros(len(rows), 1, self.grid.positions * self.grid.heads, dtype=torch.long)
        for sequence, row in zip(sequences, rows, strict=True):
            sequence[0, : len(row)] = torch.tensor(row)
        return sequences.to(codes.device), lengths.to(codes.device)

    def decode_codes(self, sequences: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        _, expansions = self._tables()
        count, heads = self.grid.positions * self.grid.heads, self.grid.heads
        malformed, symbols = 0, np.zeros((len(sequences), count), dtype=np.int64)
        for out, row, length in zip(symbols, sequences[:, 0].cpu().numpy(), lengths.tolist(), strict=True):
            parts = [expansions[code] for code in row[:length]]
            flat = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
            malformed += len(flat) != count
            out[: len(flat)] = flat[:count]
            out[len(flat) :] = flat[-1] if len(flat) else 0
        codes = torch.from_numpy(symbols).view(-1, self.grid.positions, heads) - self._starts
        # A sampled sequence may put one head's code in another's place.
        legal = codes.clamp_min(0).minimum(self._sizes - 1)
        misplaced = int((legal != codes).flatten(1).any(1).sum()) if heads > 1 else 0
        shaped = legal.movedim(1, 2).reshape(len(sequences), heads, *self.grid.shape)
        return shaped.to(sequences.device), min(len(sequences), malformed + misplaced)

    def _texts(self, codes: Tensor) -> Iterator[str]:
        """Each sample's symbols in raster order, one private-use character each."""
        symbols = codes.flatten(2).transpose(1, 2).cpu() + self._starts
        for row in symbols.flatten(1).tolist():
            yield "".join(map(_character, row))

    def _tables(self) -> tuple[Any, list[np.ndarray]]:
        """The library's merger, and each code's symbols."""
        if self._model is None:
            from tokenizers import Tokenizer, models

            vocabulary = {_character(i): i for i in range(self.base)}
            names = list(vocabulary)
            expansions = [np.array([i]) for i in range(self.base)]
            pairs = []
            for first, second in self.merges.tolist():
                if first < 0:
                    # Codes that stand for nothing, so that any code can be decoded.
                    expansions.append(np.zeros(0, dtype=np.int64))
                    continue
                pairs.append((names[first], names[second]))
                names.append(names[first] + names[second])
                vocabulary[names[-1]] = len(vocabulary)
                expansions.append(np.concatenate([expansions[first], expansions[second]]))
            self._model = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs)), expansions
        return self._model

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._model = None


def _character(symbol: int) -> str:
    plane, place = divmod(symbol, PRIVATE // 2)
    return chr((0x0F + plane) * 0x10000 + place)
