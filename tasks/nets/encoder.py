"""The feature net that needs no download: a small strided convolutional encoder for any modality, trained on the data.

With labels it is trained by cross-entropy; without, by the contrastive loss of SimCLR (Chen et al. 2020, arXiv
2002.05709, eq. 1) on two random views. Its features are the last grid's channels, averaged over positions, before any
head. It has no normalisation layers: one per sample would hide contrast and loudness from the features.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...tokenizers.interface import Trainable
from ...tokenizers.mel import LogMel
from ...tokenizers.memory_format import Layout, to_channels_last
from ...tokenizers.spec import Modality, SignalSpec
from ..interface import BatchSource, FeatureNet, Indices, Split, batches
from ..memory_mapped import to_device
from .config import EncoderConfig, encoder_name, stem_kernel
from .views import CONTRASTIVE, LABELLED, view, wave_view

_CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class LabelledSource(BatchSource):
    """A split as batches of `(signal [B, C, *shape], labels [B] int64)`; the labels are zeros where there are none."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def expect(self, indices: Indices, draws: None = None) -> None:
        """Tells the split which samples will be asked for."""
        if expect := getattr(self.split, "expect", None):
            expect(indices)

    def batch(self, indices: Indices, device: torch.device) -> tuple[Tensor, Tensor]:
        """The samples at `indices` on `device`."""
        labels = self.split.labels
        picked = np.zeros(len(indices), np.int64) if labels is None else np.asarray(labels)[indices].astype(np.int64)
        return self.split.batch(indices, device), to_device(picked, device)


class _Front(nn.Module):
    """Waveforms `[B, C, N]` to log-mels `[B, C, M, T]`, in float32 whatever the training's precision."""

    def __init__(self, config: EncoderConfig, signal: SignalSpec) -> None:
        super().__init__()
        self.log_mel = LogMel(config.mel(signal))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.log_mel(x.float())


class _Trunk(nn.Module):
    """Pictures `[B, C, *shape]` of rank 2 or 3 (or log-mels) to features `[B, dim]`."""

    def __init__(self, config: EncoderConfig, channels: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        conv = _CONV[len(shape)]
        strides = config.stem_strides(shape)
        kernel = tuple(stem_kernel(s) for s in strides)
        widths = (config.width, 2 * config.width, config.dim)
        self.stem = conv(channels, widths[0], kernel, stride=strides, padding=tuple(k // 2 for k in kernel))
        self.down = nn.ModuleList(conv(i, o, 3, stride=2, padding=1) for i, o in pairwise(widths))
        self.residual = nn.ModuleList(conv(o, o, 3, padding=1) for o in widths[1:])
        for layer in (self.stem, *self.down):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in self.residual:
            nn.init.zeros_(layer.get_parameter("weight"))
        for layer in (self.stem, *self.down, *self.residual):
            nn.init.zeros_(layer.get_parameter("bias"))
        self.layout = Layout(len(shape))
        to_channels_last(self, len(shape))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(self.layout(x)))
        for down, residual in zip(self.down, self.residual, strict=True):
            x = F.relu(down(x))
            x = F.relu(x + residual(x))
        return x.flatten(2).mean(2)


class EncoderNet(FeatureNet):
    """The trained encoder as a feature net. Its name says how it was trained."""

    def __init__(self, front: nn.Module, trunk: nn.Module, *, name: str, config: EncoderConfig) -> None:
        super().__init__()
        self.name, self.dim = name, config.dim
        how = "on the labels" if name == encoder_name(2) else "by contrast of two views"
        self.protocol = (
            f"convolutional encoder trained {how} of the training split "
            f"({config.training.steps} steps of {config.training.batch_size}), mean-pooled {config.dim}-d"
        )
        self.blind_to = config.blind_to
        self.front, self.trunk = front, trunk

    def forward(self, signal: Tensor) -> Tensor:
        """`[B, C, *shape]` in [-1, 1] (log-mel for spectrograms) to `[B, dim]`."""
        return self.trunk(self.front(signal.float())).float()


class EncoderTrainer(Trainable):
    """What the training loop trains for a data set of `classes` classes; batches come from `LabelledSource`."""

    batch_coupled = "its views are contrasted within a batch"

    def __init__(self, config: EncoderConfig, signal: SignalSpec, classes: int) -> None:
        super().__init__()
        self.config, self.signal, self.classes = config, signal, classes
        self.name = encoder_name(classes)
        self.supervised = classes >= 2
        wave = signal.modality is Modality.WAVEFORM
        self.front = _Front(config, signal) if wave else nn.Identity()
        self.trunk = _Trunk(config, signal.channels, config.picture(signal))
        modality = Modality.SPECTROGRAM if wave else signal.modality
        self.ranges = (LABELLED if self.supervised else CONTRASTIVE)[modality]
        self.head: nn.Module = (
            nn.Linear(config.dim, classes)
            if self.supervised
            else nn.Sequential(nn.Linear(config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, config.projection))
        )

    def losses(self, batch: Any, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """ "loss" and "accuracy" (of labels, or of finding a view's other half) on `(signal, labels)`."""
        signal, labels = batch
        if self.supervised:
            logits = self.head(self.trunk(self._view(signal)))
            return {"loss": F.cross_entropy(logits, labels), "accuracy": _accuracy(logits, labels)}
        logits, partner = self._contrast(signal)
        return {"loss": F.cross_entropy(logits, partner), "accuracy": _accuracy(logits, partner)}

    def net(self) -> FeatureNet:
        """A frozen copy of the encoder without its head."""
        net = EncoderNet(copy.deepcopy(self.front), copy.deepcopy(self.trunk), name=self.name, config=self.config)
        return net.eval().requires_grad_(False)

    @torch.no_grad()
    def held_out(self, split: Split, *, limit: int = 1024) -> dict[str, float]:
        """How good the encoder is on data that it was not trained on, and what chance would give.

        "accuracy" of the labels; or "contrastive_accuracy", how often a view's other half is the nearest of all views
        in its batch of up to 64 samples (seeded, so that it can be repeated). "n" is the number of samples.
        """
        device = next(self.parameters()).device
        source = LabelledSource(split)
        hits = chance = 0.0
        n = min(limit, len(source))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            for signal, labels in batches(source, 64, device, limit=limit):
                if self.supervised:
                    hits += float((self.head(self.trunk(self.front(signal))).argmax(1) == labels).sum())
                    continue
                logits, partner = self._contrast(signal)
                hits += float((logits.argmax(1) == partner).float().mean()) * len(signal)
                chance += len(signal) / max(2 * len(signal) - 1, 1)
        if self.supervised:
            counts = np.bincount(np.asarray(split.labels)[:n]) if split.labels is not None else np.ones(1)
            return {"accuracy": hits / max(n, 1), "chance": float(counts.max() / counts.sum()), "n": n}
        return {"contrastive_accuracy": hits / max(n, 1), "chance": chance / max(n, 1), "n": n}

    def _view(self, signal: Tensor) -> Tensor:
        waves = wave_view(signal) if self.signal.modality is Modality.WAVEFORM else signal
        return view(self.front(waves), self.ranges)

    def _contrast(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[2B, 2B]` between all views (a view with itself left out) and each view's other half `[2B]`."""
        two = torch.cat([self._view(signal), self._view(signal)])
        return contrast_logits(self.head(self.trunk(two)), self.config.temperature)


def contrast_logits(z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """NT-Xent's logits: cosine similarities of `z` `[2B, d]` (sample i's views are rows i and B + i) over temperature.

    Returns logits `[2B, 2B]` with -inf on the diagonal, and the index `[2B]` of each row's partner.
    """
    z = F.normalize(z.float(), dim=1)
    logits = z @ z.T / temperature
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return logits, partner


def _accuracy(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == target).float().mean()
