"""How well a linear map predicts the labels from the latents (aligned VAE, B6): the V-information of labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...results.metric import Metric
from .interface import Probe, ProbeInput

RIDGE = 0.01
_SAMPLES = 4096


class LabelProbe(Probe):
    """See `LabelProbeConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if len(probed.data.classes) < 2 or probed.data.train.labels is None or probed.data.val.labels is None:
            return "the data have no labels"
        if not probed.has_values():
            return "the latents are codes without values"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        train, val = probed.data.train.labels, probed.data.val.labels
        assert train is not None
        assert val is not None
        n, classes = min(len(train), _SAMPLES), len(probed.data.classes)
        weights, mean, std = ridge(_features(probed, "train", n), _labels(train, n), classes)
        x, labels = _features(probed, "val", probed.total), _labels(val, probed.total)
        guessed = predict(x, weights, mean, std)
        line = f"linear ridge regression on one-hot labels, λ = {RIDGE:g} n, on {n} latents standardised per element"
        right = (guessed == labels).double().tolist()
        common = int(_labels(train, n).bincount(minlength=classes).argmax())
        chance = (labels == common).double().tolist()
        return (
            Metric.from_samples("label_accuracy", right, direction="higher", protocol=f"{line}; validation split"),
            Metric.from_samples(
                "label_chance", chance, direction="none", protocol="share of the commonest class; validation split"
            ),
        )


def ridge(x: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """W of min ‖X W - Y‖² + λ‖W‖² for standardised `x` `[N, D]` and centred one-hot labels, λ = RIDGE N.

    Returns W with the labels' means as its last row `[D + 1, classes]`, and the mean and deviation `[D]` of `x`; in
    float64, by whichever of the two Gram matrices is smaller.
    """
    x = x.double()
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, torch.inf)  # what is constant says nothing
    z = (x - mean) / std
    y = torch.nn.functional.one_hot(labels, classes).double()
    centre = y.mean(0)
    penalty = RIDGE * len(z)
    if z.shape[1] <= len(z):
        gram = z.T @ z
        gram.diagonal().add_(penalty)
        weights = torch.linalg.solve(gram, z.T @ (y - centre))
    else:
        gram = z @ z.T
        gram.diagonal().add_(penalty)
        weights = z.T @ torch.linalg.solve(gram, y - centre)
    return torch.cat([weights, centre[None]]), mean, std


def predict(x: Tensor, weights: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The classes `[N]` that `ridge`'s result gives for `x` `[N, D]`."""
    return (((x.double() - mean) / std) @ weights[:-1] + weights[-1]).argmax(1)


def _labels(labels: np.ndarray, n: int) -> Tensor:
    return torch.from_numpy(np.asarray(labels[:n], dtype=np.int64))


def _features(probed: ProbeInput, split: str, n: int) -> Tensor:
    store = probed.latents.train if split == "train" else probed.latents.val
    parts = [torch.from_numpy(np.array(level["values"][:n])).flatten(1) for level in store.levels]
    return torch.cat(parts, 1)
