"""Operating points: the quality and speed of each further way to decode the same latents.

A residual quantiser decodes at any depth, nested dropout from any prefix, a diffusion decoder in any number of steps.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..results.metric import Metric
from ..tokenizers.interface import Latents
from ..tokenizers.spec import SignalSpec
from .distances import Reference, paired_distances
from .interface import FeatureNet
from .metrics.config import PsnrConfig, SiSdrConfig
from .metrics.interface import PairMetric
from .stopwatch import Stopwatch

Decode = Callable[[Latents], Tensor]


class OperatingPoints:
    """Scores of the points (by name) of one tokenizer: PSNR, SI-SDR of waveforms, and Fréchet distances under `nets`.

    `full` is the tokenizer's own `decode`, which is timed beside them. Nothing waits for the device until what was
    seen is asked for.
    """

    def __init__(
        self,
        full: Decode,
        points: Mapping[str, Decode],
        signal: SignalSpec,
        nets: Mapping[str, FeatureNet],
        device: torch.device,
    ) -> None:
        self.full, self.points, self.signal, self.device = full, points, signal, device
        configs = [c() for c in (PsnrConfig, SiSdrConfig) if c.unsupported_reason(signal) is None]
        self.metrics: list[PairMetric] = [config.build() for config in configs]
        # A spectrogram's waveform takes a vocoder, by far the most expensive part: its nets read the signal alone.
        self.nets = {name: net for name, net in nets.items() if signal.mel is None or net.reads == "signal"}
        self.seconds: dict[str, list[float]] = {}  # a sample, by point, of each batch
        self._watches: list[tuple[str, Stopwatch, int]] = []

    def see(self, latents: Latents, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Of a batch of latents and the signals `[B, C, *signal]` that they encode: what `full` makes of them, in
        [-1, 1], and rows `[B, …]` by name, which `results` reads of all batches."""
        if not self.points:
            return self.full(latents).float().clamp(-1, 1), {}
        full = self._timed("full", self.full, latents)
        rows: dict[str, Tensor] = {}
        for point, decode in self.points.items():
            decoded = self._timed(point, decode, latents)
            for metric in self.metrics:
                rows[f"{metric.config.kind}@{point}"] = metric.values(decoded, target, self.signal).double()
            for name, net in self.nets.items():
                rows[f"features {name}@{point}"] = net.features(decoded)
        return full, rows

    def state(self) -> dict[str, Tensor]:
        """The seconds so far, as tensors."""
        return {point: torch.tensor(seconds, dtype=torch.float64) for point, seconds in self._read().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self.seconds = {point: seconds.tolist() for point, seconds in state.items()}

    def _timed(self, point: str, decode: Decode, latents: Latents) -> Tensor:
        watch = Stopwatch(self.device)
        with watch:
            decoded = decode(latents)
        self._watches.append((point, watch, len(decoded)))
        return decoded.float().clamp(-1, 1)

    def _read(self) -> dict[str, list[float]]:
        for point, watch, count in self._watches:
            self.seconds.setdefault(point, []).append(watch.seconds / count)
        self._watches = []
        return self.seconds

    def results(
        self, rows: Mapping[str, Tensor], references: Mapping[str, Reference]
    ) -> tuple[list[Metric], dict[str, list[float]]]:
        """`<metric>_<point>` and `rfd_<net>_<point>` of every point, from the rows of all batches; and of the
        distances, by metric, what leaving out each group of samples gives (see `paired_distances`)."""
        results: list[Metric] = []
        left_out: dict[str, list[float]] = {}
        for point in self.points:
            note = f"decoded at {point}"
            for metric in self.metrics:
                one = metric.summary(rows[f"{metric.config.kind}@{point}"], self.signal)
                line = f"{one.protocol}; {note}"
                results.append(replace(one, name=f"{one.name}_{point}", protocol=line, shown="asked"))
            for name, net in self.nets.items():
                features = rows[f"features {name}@{point}"]
                (frechet, _), without_group = paired_distances(net, features, references[name], note=note)
                results.append(replace(frechet, name=f"{frechet.name}_{point}", shown="asked"))
                if without_group[frechet.name]:
                    left_out[f"{frechet.name}_{point}"] = without_group[frechet.name]
        return results, left_out

    def by_sample(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values `[N]` of every metric of pairs at every point, by the metric's name."""
        names = [(metric.config.kind, point) for metric in self.metrics for point in self.points]
        return {f"{kind}_{point}": rows[f"{kind}@{point}"] for kind, point in names}

    def latencies(self) -> dict[str, float]:
        """Median seconds per sample of decoding a batch, by point; "full" is the tokenizer's own decoding."""
        return {point: statistics.median(_warm(seconds)) for point, seconds in self._read().items()}


def _warm(seconds: Sequence[float]) -> Sequence[float]:
    """Without the first, in which kernels are chosen and buffers made, where there are others."""
    return seconds[1:] or seconds
