"""Priors that are conditioned on class labels: the labels' embedding, their draw in sampling, and guidance.

Shape legend: B batch, D width.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...results.errors import UserError
from ..latents import LatentBatch
from .config import ClassConditional
from .interface import Prior
from .noise import generator

_LABELS = 0x1ABE1  # the stream of a sample's generator that its label is drawn from


class Labels(nn.Module):
    """Class labels as vectors, and the labels that samples get.

    Row `classes` of the table is "no label". In training a label becomes "no label" with probability `dropout`, so
    that one network learns the conditional and the unconditional distribution (Ho & Salimans 2022). `counts`
    `[classes]` is the training split's histogram, filled by `count`; before that all labels are equally likely.
    """

    counts: Tensor

    def __init__(self, classes: int, width: int, *, dropout: float) -> None:
        super().__init__()
        self.classes, self.dropout = classes, dropout
        self.weight = nn.Parameter(torch.randn(classes + 1, width) * 0.02)
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.long))

    def count(self, batches: Iterable[LatentBatch]) -> None:
        """Take the histogram of all labels in `batches`; for a prior's `on_train_start`.

        Raises UserError when there are no labels, or one outside 0 to `classes` - 1.
        """
        total = torch.zeros(self.classes, dtype=torch.long)
        for batch in batches:
            labels = self.of(batch).cpu()
            if int(labels.min()) < 0 or int(labels.max()) >= self.classes:
                span = f"{int(labels.min())} to {int(labels.max())}"
                raise UserError(f"prior: classes is {self.classes}, and the data's labels run from {span}")
            total += torch.bincount(labels, minlength=self.classes)
        self.counts.copy_(total)

    def of(self, batch: LatentBatch) -> Tensor:
        """The labels `[B]` of a batch. Raises UserError when it has none."""
        if batch.labels is None:
            raise UserError(f"prior: classes is {self.classes}, and the data has no labels; take classes = 0")
        return batch.labels

    def forward(self, labels: Tensor) -> Tensor:
        """Vectors `[B, D]` of labels `[B]`; some of them dropped in training, none in evaluation mode."""
        if self.training and self.dropout:
            dropped = torch.rand(labels.shape, device=labels.device) < self.dropout
            labels = labels.masked_fill(dropped, self.classes)
        return F.embedding(labels, self.weight)

    def none(self, n: int) -> Tensor:
        """`n` times "no label", on the table's device."""
        return torch.full((n,), self.classes, dtype=torch.long, device=self.weight.device)

    def draw(self, indices: Iterable[int], *, seed: int) -> Tensor:
        """The labels `[B]` of the samples `indices`, from the training histogram; a function of (seed, index)."""
        counts = self.counts.cpu().numpy().astype(np.float64)
        shares = (counts if counts.sum() > 0 else np.ones_like(counts)).cumsum()
        places = np.array([generator(seed, int(i), _LABELS).random() for i in indices]) * shares[-1]
        return torch.from_numpy(np.searchsorted(shares, places, side="right")).to(self.weight.device)


class LabelledPrior(Prior):
    """A prior whose options are `ClassConditional`.

    A subclass calls `add_labels` at the end of its constructor: parameters are drawn in order.
    """

    config: ClassConditional
    labels: Labels | None

    def add_labels(self, width: int) -> None:
        """Make the table of labels' vectors of `width`, where the options ask for labels."""
        config = self.config
        self.labels = Labels(config.classes, width, dropout=config.label_dropout) if config.classes else None

    def on_train_start(self, batches: Iterable[LatentBatch]) -> None:
        """Count the training labels, from which samples take theirs."""
        if self.labels is not None:
            self.labels.count(batches)

    def vectors(self, batch: LatentBatch) -> Tensor | None:
        """The vectors `[B, D]` of a batch's labels, or None without labels."""
        return None if self.labels is None else self.labels(self.labels.of(batch))

    def drawn_vectors(self, indices: range, *, seed: int) -> Tensor | None:
        """The vectors of the labels of samples; with guidance `[2B, D]`, "no label" in the second half."""
        if self.labels is None:
            return None
        labels = self.labels.draw(indices, seed=seed)
        return self.labels(torch.cat((labels, self.labels.none(len(labels)))) if self.guides else labels)

    @property
    def guides(self) -> bool:
        """Whether sampling needs two predictions, with labels and without."""
        return self.config.guidance != 1


def as_context(vectors: Tensor | None) -> Tensor | None:
    """Vectors `[B, D]` as what is added to the input of every step, `[B, 1, D]`; None without any."""
    return None if vectors is None else vectors[:, None]


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """unconditional + scale (conditional - unconditional): classifier-free guidance of logits, velocities or noise.

    Ho & Salimans 2022, equation 6, with `scale` = 1 + w: 1 is the conditional model itself, 0 the unconditional one.
    """
    return torch.lerp(unconditional, conditional, scale)
