"""How many bits of a label a linear softmax reads from latents. Shape legend: N samples, D elements, K classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...results.metric import Metric
from ...tokenizers.optimisers import LBFGS
from ..metrics.balls import evenly
from .interface import NORMALISED, Proxy, ProxyInput, Value, metric

SAMPLES = 10_000
PENALTIES = (1.0, 0.1, 0.01, 0.001)
_ELEMENTS = 1 << 25  # samples times elements: beyond, fewer samples are read
_LEAST = 50
_STEPS = 40


def softmax_regression(x: Tensor, labels: Tensor, classes: int, penalty: float, start: Tensor) -> Tensor:
    """Weights `[D + 1, K]`, the intercept last, with the least mean cross-entropy + penalty/2 ‖W‖² on `[N, D]`, by
    L-BFGS from `start`; the intercept is free."""
    weights = start.clone().requires_grad_()
    optimiser = LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-6)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(x @ weights[:-1] + weights[-1], labels)
        loss = loss + 0.5 * penalty * weights[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weights.detach()


def information_bits(x: Tensor, labels: Tensor) -> Tensor:
    """log2 q(label | z)/q(label) of each held-out sample, whose mean is the information: `[N, D]` to `[N / 5]` float64.

    Three fifths are fitted, one chooses the penalty (an infinite one leaves the classes' shares), one is held out.
    """
    part = torch.arange(len(x)) % 5
    # Labels that go around in a period of 5 must not fall to one part each.
    part = part[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    fit, choose, held_out = part < 3, part == 3, part == 4
    classes = int(labels.max()) + 1
    shares = labels[fit].bincount(minlength=classes).double() + 0.5
    prior = (shares / shares.sum()).log()
    weights = torch.zeros(x.shape[1] + 1, classes)
    weights[-1] = prior.float()

    def log_q(rows: Tensor, fitted: Tensor) -> Tensor:
        logits = (x[rows] @ fitted[:-1] + fitted[-1]).double()
        return logits.log_softmax(1).gather(1, labels[rows, None])[:, 0]

    best, best_weights = float(log_q(choose, weights).mean()), weights
    for penalty in PENALTIES:
        weights = softmax_regression(x[fit], labels[fit], classes, penalty, weights)
        value = float(log_q(choose, weights).mean())
        if not value > best:
            break
        best, best_weights = value, weights
    return (log_q(held_out, best_weights) - prior[labels[held_out]]) / math.log(2)


class LabelInformation(Proxy):
    """See `LabelInformationConfig`."""

    def metrics(self, latents: ProxyInput) -> tuple[Metric, ...]:
        if latents.labels is None:
            return ()
        z = latents.normalised
        value: Value = None
        classes, labels = latents.labels[latents.finite.to(latents.labels.device)].unique(return_inverse=True)
        if z.numel() and len(classes) > 1:
            rows = evenly(len(z), min(SAMPLES, _ELEMENTS // z[0].numel()))
            if len(rows) >= _LEAST:
                bits = information_bits(z[rows].flatten(1), labels[rows])
                se = float(bits.std()) / len(bits) ** 0.5
                value = (float(bits.mean()), se, 1.96 * se)
        protocol = (
            "bits of a label that a linear softmax of the whole latent knows beyond the classes' shares, held out: 3/5 "
            f"fitted, 1/5 for the penalty, 1/5 measured, of up to {SAMPLES}; {NORMALISED}"
        )
        return (metric("label_information", value, latents, direction="higher", unit="bit", protocol=protocol),)
