"""The rates of a reconstruction: of all latents, and of the part that each operating point decodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Latents, Tokenizer
from .collected import Collected, count_codes
from .metrics import real_rate
from .metrics.codes import CodeHistogram, code_metrics
from .metrics.real_rate import MeasuredRate
from .operating_points import Decode
from .rate_bits import OF_VALUES, rate_of_codes, rate_of_values
from .rate_sample import RateSample

Measured = tuple[list[Metric], dict[str, Tensor]]


class Rates:
    """What `tokenizer` takes a sample, from what a pass has `collected` over `total` samples.

    `sample` holds those whose continuous latents are rounded (None: they are not, and have no rate); `read(indices)`
    gives signals again that another process has seen.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        collected: Collected,
        sample: RateSample | None,
        *,
        total: int,
        batch_size: int,
        read: Callable[[np.ndarray], Tensor],
    ) -> None:
        self.tokenizer, self.spec, self.collected, self.total = tokenizer, tokenizer.spec, collected, total
        self.sample = sample
        self.batches = [] if sample is None else sample.batches(collected.of_rate(), read, batch_size)
        self._full: MeasuredRate | None = None

    def full(self, code_bits: Metric | None, *, rate_bits: bool) -> Measured:
        """The real rate where it is known, and `rate_bits` where it is asked for; the former by sample.

        `code_bits` is the codes' entropy per sample, where there are any.
        """
        metrics: list[Metric] = []
        lengths = self.collected.rows.get("lengths")
        if code_bits is not None:
            metrics = [rate_of_codes(code_bits)] if rate_bits else []
            if self.spec.grid.byte_stream and lengths is not None:
                self._full = real_rate.rate_of_stream(lengths)
            else:
                ideal = _ideal(self.collected.codes(), lengths)
                nominal = real_rate.fixed_length_bits(self.spec, self.total, lengths)
                self._full = real_rate.rate_of_codes(code_bits, ideal, nominal)
        elif self.sample is not None:
            error = self.sample.squared_error(self.collected.of_rate())
            measured, bits = rate_of_values(self.tokenizer.decode, self.batches, squared_error=error)
            metrics = [measured]
            self._full = self._of_values(measured, bits)
        if self._full is None:
            return [], {}
        real, by_sample = real_rate.rate_metrics(self._full, self.spec.signal)
        return metrics + real, by_sample

    def at(self, point: str, decode: Decode) -> Measured:
        """The real rate of an operating point, as `real_bits_<point>` and so on: of the latents that it decodes."""
        rate = self._at(point, decode)
        if rate is None:
            return [], {}
        metrics, by_sample = real_rate.rate_metrics(rate, self.spec.signal)
        note = f"of what is decoded at {point}"
        named = [replace(m, name=f"{m.name}_{point}", protocol=f"{m.protocol}; {note}", shown="asked") for m in metrics]
        return named, {f"{name}_{point}": bits for name, bits in by_sample.items()}

    def _at(self, point: str, decode: Decode) -> MeasuredRate | None:
        codes = self.collected.codes()
        if codes:
            levels = [Latents(codes=each) for each in codes]
            whole = replace(levels[0], rest=tuple(levels[1:]))
            part = self.tokenizer.read_at(point, whole)
            return self._full if part is whole else None if part is None else self._of_codes(part)
        if not self.batches:
            return self._full if self.spec.discrete else None
        (_, first), *_ = self.batches
        part = self.tokenizer.read_at(point, first)
        if part is first or part is None:
            return self._full if part is first else None

        def read(latents: Latents) -> Latents:
            """What the point decodes of latents; it was not None of the first."""
            return self.tokenizer.read_at(point, latents) or latents

        return self._of_values(*rate_of_values(decode, self.batches, read=read))

    def _of_values(self, measured: Metric, bits: Tensor) -> MeasuredRate:
        assert self.sample is not None
        ideal = torch.full((self.total,), math.nan, dtype=torch.float64)
        ideal[torch.from_numpy(self.sample.indices)] = bits
        return real_rate.rate_of_values(measured, ideal, protocol=OF_VALUES)

    def _of_codes(self, part: Latents) -> MeasuredRate:
        """The rate of codes `[N, H, *grid]` of each grid, of which some heads or positions may be left out."""
        codes = [level.codes for level in part.levels if level.codes is not None]
        entropies, nominal = [], 0.0
        for each, grid, groups in zip(codes, self.spec.grids, self.collected.histograms, strict=True):
            sizes = grid.codebook_sizes[: each.shape[1]]
            histograms = [CodeHistogram(sizes) for _ in groups]
            count_codes(each, None, np.arange(len(each)), histograms)
            entropies += [m for m in code_metrics(histograms) if m.name == "code_bits_per_sample"]
            nominal += math.prod(each.shape[2:]) * sum(map(math.log2, sizes))
        values = [entropy.value for entropy in entropies]
        entropy = entropies[0]
        if len(values) > 1:
            known = [value for value in values if value is not None]
            total = sum(known) if len(known) == len(values) else None
            entropy = replace(entropy, value=total, se=None, interval=None)
        fixed = torch.full((self.total,), nominal, dtype=torch.float64)
        return real_rate.rate_of_codes(entropy, _ideal(codes, None), fixed)


def _ideal(codes: Sequence[Tensor], lengths: Tensor | None) -> Tensor:
    return torch.stack([real_rate.ideal_code_lengths(each, lengths) for each in codes]).sum(0)
