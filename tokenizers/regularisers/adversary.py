"""The adversarial loss: a discriminator as a player of its own, and the loss for fooling it.

The reconstruction is cut from the tokenizer's graph, judged, and the gradient that comes back is handed on. So each of
the discriminator's backward passes runs once, stops at its input, and never touches its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import SignalSpec
from .adversary_config import AdversaryConfig
from .base import LossTerms, Regulariser, TrainingStep
from .discriminators import Judgement
from .layers import last_layer

PLAYER = "discriminator"
# Bounds of the adaptive weight: what keeps its denominator from zero, and its largest value.
DELTA = 1e-6
LARGEST = 1e4


def generator_loss(logits: Sequence[Tensor], *, loss: str) -> Tensor:
    """What the decoder minimises, from the logits of reconstructions at each scale; the mean over scales.

    "hinge": -E D(x') (Lim and Ye 2017). "softplus": E ln(1 + exp(-D(x'))), the non-saturating loss (Goodfellow et al.
    2014).
    """
    return torch.stack([-x.mean() if loss == "hinge" else F.softplus(-x).mean() for x in logits]).mean()


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor], *, loss: str) -> Tensor:
    """What the discriminator minimises, from the logits at each scale; the mean over scales.

    "hinge": E max(0, 1 - D(x)) + E max(0, 1 + D(x')). "softplus": E ln(1 + exp(-D(x))) + E ln(1 + exp(D(x'))).
    """
    if loss == "hinge":
        terms = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    else:
        terms = [F.softplus(-r).mean() + F.softplus(f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over layers of E |f(x') - f(x)| / E |f(x)| (Défossez et al. 2022, eq. 3), `real` taken as constant."""
    terms = [(f - r).abs().mean() / r.abs().mean().clamp_min(1e-8) for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def gradient_ratio(fidelity: Tensor, adversarial: Tensor) -> Tensor:
    """The adaptive weight of Esser et al. 2021 (VQGAN), eq. 7: |fidelity| / (|adversarial| + 1e-6), at most 1e4."""
    return (fidelity.norm() / (adversarial.norm() + DELTA)).clamp(max=LARGEST).detach()


def gradient_penalty(logits: Sequence[Tensor], signal: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018, eq. 9): half the squared norm of the gradient of a sample's mean logit at `signal`."""
    total = torch.stack([x.flatten(1).mean(1) for x in logits]).mean(0).sum()
    (gradient,) = torch.autograd.grad(total, signal, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


class Adversary(Regulariser):
    """See `AdversaryConfig`. Steps before `start` x steps are those of a training without it, to the bit."""

    def __init__(self, config: AdversaryConfig, signal: SignalSpec) -> None:
        super().__init__()
        self.config = config
        self.discriminator = config.build_discriminator(signal)
        self._seen: tuple[Tensor, Tensor] | None = None

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {PLAYER: list(self.discriminator.parameters())}

    def losses(self, done: TrainingStep) -> LossTerms:
        """The terms "adversary" and "feature_matching", weighted; logs "adaptive_weight".

        That one scales gradients, which it balances, and not the value of the loss, which it would throw about by
        orders of magnitude: the sum of the losses stays what a curve can show.
        """
        if not self.training or done.step < self.config.start * done.steps:
            return LossTerms()
        config, real = self.config, done.signal.float()
        made = done.reconstruction.detach().requires_grad_()
        self._seen = real, done.reconstruction.detach()
        judged = self._judge(real, made)
        fooling = generator_loss(judged.logits, loss=config.loss)
        matched = bool(config.feature_matching)
        (gradient,) = torch.autograd.grad(fooling, made, retain_graph=matched)
        factor = self._adaptive_weight(done, gradient) if config.adaptive else torch.ones_like(fooling.detach())
        fooling = config.weight * fooling.detach()
        losses = {"adversary": _carried(done.reconstruction, fooling, config.weight * factor * gradient)}
        logs = {"adaptive_weight": factor} if config.adaptive else {}
        if matched:
            with torch.no_grad():
                wanted = self._judge(real, real).features
            distance = config.feature_matching * feature_distance(wanted, judged.features)
            (gradient,) = torch.autograd.grad(distance, made)
            losses["feature_matching"] = _carried(done.reconstruction, distance, gradient)
        return LossTerms(losses=losses, logs=logs)

    def group_losses(self, group: str, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """The discriminator's loss on the signals and reconstructions of this step, and its mean logits of either."""
        if self._seen is None:
            return {}
        (real, made), self._seen = self._seen, None
        if self.config.r1:
            real = real.clone().requires_grad_()
        genuine, forged = self._judge(real, real), self._judge(real.detach(), made)
        loss = discriminator_loss(genuine.logits, forged.logits, loss=self.config.loss)
        logs = {"real": _mean(genuine.logits), "fake": _mean(forged.logits)}
        if self.config.r1:
            penalty = self.config.r1 * gradient_penalty(genuine.logits, real)
            loss = loss + penalty
            logs["r1"] = penalty.detach()
        return {"loss": loss, **logs}

    def _judge(self, real: Tensor, made: Tensor) -> Judgement:
        """The discriminator's view of `made` `[B, C, *signal]`, beside the signal it was made from if `paired`."""
        # A view: torch's FLOP counter can't follow `autograd.grad` where a module is called with a leaf.
        seen = torch.cat([real, made], dim=1) if self.config.paired else made.view_as(made)
        judgement: Judgement = self.discriminator(seen)
        return judgement

    def _adaptive_weight(self, done: TrainingStep, gradient: Tensor) -> Tensor:
        """Ratio of gradients at the decoder's last layer, given the adversary's at the reconstruction.

        A decoder without weights has its output in place of its last layer.
        """
        layer = last_layer(done.tokenizer.decoder)
        if layer is None or not layer.weight.requires_grad:
            (fidelity,) = torch.autograd.grad(done.fidelity, done.reconstruction, retain_graph=True)
            return gradient_ratio(fidelity, gradient)
        (fidelity,) = torch.autograd.grad(done.fidelity, layer.weight, retain_graph=True)
        (adversarial,) = torch.autograd.grad(done.reconstruction, layer.weight, gradient, retain_graph=True)
        return gradient_ratio(fidelity, adversarial)


class _Carried(torch.autograd.Function):
    """A number that is known with its gradient."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None


def _carried(at: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """The scalar `value` whose gradient at the tensor `at` is `gradient`."""
    carried: Tensor = _Carried.apply(at, value.detach(), gradient.detach())
    return carried


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([x.detach().mean() for x in logits]).mean()
