"""Operating points: how well and how fast each further way of decoding the same latents does.

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
from .distances import Reference, distances
from .interface import FeatureNet
from .metrics.audio import SiSdr
from .metrics.interface import PairMetric
from .metrics.psnr import Psnr
from .stopwatch import Stopwatch

Decode = Callable[[Latents], Tensor]


class OperatingPoints:
    """Scores of the points (by name) of one tokenizer: PSNR, SI-SDR of waveforms, and Fréchet distances under `nets`.

    `full` is the tokenizer's own `decode`, which is timed beside them.
    """

    def __init__(
        self, full: Decode, points: Mapping[str, Decode], signal: SignalSpec, nets: Mapping[str, FeatureNet]
    ) -> None:
        self.decoders = {"full": full, **points} if points else {}
        self.signal = signal
        metrics: list[PairMetric] = [Psnr(), SiSdr()]
        self.metrics = [m for m in metrics if signal.modality in m.modalities]
        # A spectrogram's waveform takes a vocoder, by far the dearest part: its nets read the signal alone.
        self.nets = {name: net for name, net in nets.items() if signal.mel is None or net.reads == "signal"}
        self.values: dict[tuple[str, str], list[Tensor]] = {}
        self.features: dict[tuple[str, str], list[Tensor]] = {}
        self.seconds: dict[str, list[float]] = {name: [] for name in self.decoders}

    def see(self, latents: Latents, truth: Tensor) -> None:
        """Add a batch of latents and the signals `[B, C, *signal]` that they encode."""
        for point, decode in self.decoders.items():
            watch = Stopwatch(truth.device)
            with watch:
                decoded = decode(latents)
            self.seconds[point].append(watch.seconds / len(truth))
            if point == "full":
                continue
            decoded = decoded.float().clamp(-1, 1)
            for metric in self.metrics:
                values = metric.values(decoded, truth, self.signal).double().cpu()
                self.values.setdefault((metric.name, point), []).append(values)
            for name, net in self.nets.items():
                self.features.setdefault((name, point), []).append(net(decoded).float().cpu())

    def results(self, references: Mapping[str, Reference], *, seed: int) -> list[Metric]:
        """`<metric>_<point>` and `rfd_<net>_<point>` of every point."""
        found: list[Metric] = []
        for point in (name for name in self.decoders if name != "full"):
            note = f"decoded at {point}"
            for metric in self.metrics:
                one = metric.summary(torch.cat(self.values[metric.name, point]), self.signal)
                found.append(replace(one, name=f"{one.name}_{point}", protocol=f"{one.protocol}; {note}"))
            for name, net in self.nets.items():
                features = torch.cat(self.features[name, point])
                frechet, _ = distances("r", net, features, references[name], note=note, seed=seed)
                found.append(replace(frechet, name=f"{frechet.name}_{point}"))
        return found

    def latencies(self) -> dict[str, float]:
        """Median seconds per sample of decoding a batch, by point; "full" is the tokenizer's own decoding."""
        return {point: statistics.median(_warm(seconds)) for point, seconds in self.seconds.items() if seconds}


def _warm(seconds: Sequence[float]) -> Sequence[float]:
    """Without the first, in which kernels are chosen and buffers made, where there are others."""
    return seconds[1:] or seconds
