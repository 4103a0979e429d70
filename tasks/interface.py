"""What tasks see: data sets as splits of signals, feature nets, and the context that the harness hands them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..tokenizers.spec import SignalSpec
from .vocoders.base import Vocoder
from .vocoders.config import GriffinLimConfig

Indices = np.ndarray
AHEAD = 3  # batches that a source may begin with before they are used


class BatchSource(Protocol):
    """What the training loop draws from: `len(source)` samples, any of them by index, as one batch on a device.

    A source that has to decode files has a method `expect(indices, draws=None)`, by which it hears of batches that will
    be asked for. One with a true attribute `augments` takes `draws` (int64 `[B]`) as a third argument of `batch`: a
    number for each sample, of which its random changes are a function.
    """

    def __len__(self) -> int: ...

    def batch(self, indices: Indices, device: torch.device) -> Any:
        """The samples at `indices` (int64 `[B]`) on `device`. Anything random draws from torch's global generator."""


class Split(BatchSource, Protocol):
    """One split of a data set, decoded once and memory-mapped."""

    @property
    def signal(self) -> SignalSpec:
        """What one sample looks like."""

    @property
    def labels(self) -> np.ndarray | None:
        """Classes, int64 `[N]`, where there are any."""

    def batch(self, indices: Indices, device: torch.device) -> Tensor:
        """`[B, C, *shape]` float32 in [-1, 1] (log-mel for spectrograms)."""

    def sources(self, indices: Indices, device: torch.device) -> Tensor:
        """What the signals were made from: the waveform `[B, C, N]` of a spectrogram, else the same as `batch`."""


class Dataset(Protocol):
    """A data set: training and validation splits with the same `signal`."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def signal(self) -> SignalSpec:
        """What one sample looks like."""

    @property
    def train(self) -> Split:
        """What is trained on."""

    @property
    def val(self) -> Split:
        """What is scored on."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels; empty without."""

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides its samples."""


def batches(
    source: BatchSource, size: int, device: torch.device, *, limit: int | None = None, order: Indices | None = None
) -> Iterator[Any]:
    """All samples of `source` (the first `limit`), `size` at a time: in order, or in that of the indices `order`."""
    n = len(source) if limit is None else min(limit, len(source))
    for indices in slices(source, n, size, order=order):
        yield source.batch(indices, device)


def slices(
    source: BatchSource, total: int, size: int, *, start: int = 0, order: Indices | None = None
) -> Iterator[Indices]:
    """The indices from `start` to `total`, `size` at a time; a source that decodes files begins with the next ones.

    With `order` they are its entries at these places.
    """
    parts = [np.arange(first, min(first + size, total)) for first in range(start, total, size)]
    parts = parts if order is None else [order[places] for places in parts]
    expect = getattr(source, "expect", None)
    for number, indices in enumerate(parts):
        if expect is not None:
            for coming in parts[number : number + 1 + AHEAD]:
                expect(coming)
        yield indices


class FeatureNet(nn.Module):
    """A frozen network whose features Fréchet and kernel distances are computed on.

    `name` stands in the metric's name (`rfd_<name>`); `dim` is the feature's length; `reads` says whether it takes the
    modality's own signal or, for audio nets on spectrograms, the waveform; `protocol` is one line on input size,
    resize, layer and weights; `blind_to` says in a few words what its distances hardly see, for the notes of tables;
    `at_once` is how many signals `features` gives it at a time, None for all.
    """

    name: str
    dim: int
    reads: Literal["signal", "waveform"] = "signal"
    protocol: str
    blind_to: str = ""
    at_once: int | None = None

    @abstractmethod
    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *shape]` in [-1, 1] to features `[B, dim]` float32."""

    def features(self, signal: Tensor) -> Tensor:
        """As `forward`, in parts whose activations fit memory: what a batch for tokenizers is may be large for it."""
        return torch.cat([self(part).float() for part in signal.split(self.at_once or max(len(signal), 1))])


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What training took and how it went.

    Optimiser steps, samples seen, FLOPs (counted), the last logged losses, the whole logged `curve` (a row per log
    line: step, lr, loss terms), and the volatile facts: `seconds`, and the `memory_format` of convolutions ("" where
    there is no choice).
    """

    steps: int
    samples: int
    flops: float
    losses: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]
    seconds: float
    memory_format: str = ""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the harness gives a task beside the tokenizer and the data.

    `folder` is the job's own folder (for artifacts it wants to keep); `progress(done, total, message)` is shown live;
    `nets` are the feature nets by name, `references` the cached reference statistics by (net, split); `vocoder` is a
    trained one that renders the data set's spectrograms.
    """

    device: torch.device
    seed: int
    folder: Path
    progress: Callable[[int, int, str], None] = lambda done, total, message: None
    nets: Mapping[str, FeatureNet] = field(default_factory=dict)
    references: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    vocoder: Vocoder | None = None

    def vocoder_of(self, signal: SignalSpec, iterations: int) -> Vocoder | None:
        """What renders such signals: `vocoder`, else Griffin-Lim with `iterations`; None where they need none."""
        if signal.mel is None:
            return None
        if self.vocoder is not None:
            return self.vocoder
        griffin_lim: Vocoder = GriffinLimConfig().build(signal, iterations=iterations)
        return griffin_lim.to(self.device)

    def part(self, name: str) -> Context:
        """The same with a folder of its own, for what goes on where it was ended; it goes when the job is finished."""
        folder = self.folder / f"part-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return replace(self, folder=folder)
