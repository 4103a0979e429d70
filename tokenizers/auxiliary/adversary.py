"""The adversarial loss: a discriminator with an optimiser of its own, and the loss for fooling it.

For the tokenizer's loss the discriminator judges a detached copy of the reconstruction. The gradient at this copy is
then passed on to the reconstruction: each backward pass through the discriminator runs once, stops at its input, and
leaves its weights without a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import ranks
from ..backbones.layers import last_layer
from ..spec import SignalSpec
from ..step_precision import step_precision
from .adversary_config import AdversaryConfig
from .base import AuxiliaryObjective, LossTerms, TrainingStep
from .config import TokenizerParts
from .discriminators import (
    Discriminator,
    Judgement,
    PatchDiscriminator,
    STFTDiscriminator,
    StyleDiscriminator,
    TemporalDiscriminator,
)
from .waveform_discriminators import BandDiscriminator, CodecDiscriminator, PeriodDiscriminator

_SPECTRAL: dict[str, Callable[..., Discriminator]] = {
    "stft": STFTDiscriminator,
    "band": BandDiscriminator,
    "codec": CodecDiscriminator,
}

# Of the adaptive weight: what keeps its denominator from zero, and its largest value.
_DELTA = 1e-6
_LARGEST = 1e4

# What a logit of a reconstruction costs the decoder, and what logits of signals and reconstructions cost the
# discriminator.
_FOOLING: dict[str, Callable[[Tensor], Tensor]] = {
    "hinge": torch.neg,
    "softplus": lambda x: F.softplus(-x),
    "squares": lambda x: (1 - x).square(),
}
_TELLING: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "hinge": (lambda x: F.relu(1 - x), lambda x: F.relu(1 + x)),
    "softplus": (lambda x: F.softplus(-x), F.softplus),
    "squares": (lambda x: (1 - x).square(), torch.square),
}


def generator_loss(logits: Sequence[Tensor], *, loss: str) -> Tensor:
    """What the decoder minimises, from the logits of reconstructions at each scale; the mean over scales.

    "hinge": -E D(x') (Lim and Ye 2017). "softplus": E ln(1 + exp(-D(x'))), the non-saturating loss (Goodfellow et al.
    2014). "squares": E (1 - D(x'))^2 (Mao et al. 2017, as HiFi-GAN and DAC have it).
    """
    return torch.stack([_FOOLING[loss](x).mean() for x in logits]).mean()


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor], *, loss: str) -> Tensor:
    """What the discriminator minimises, from the logits at each scale; the mean over scales.

    "hinge": E max(0, 1 - D(x)) + E max(0, 1 + D(x')). "softplus": E ln(1 + exp(-D(x))) + E ln(1 + exp(D(x'))).
    "squares": E (1 - D(x))^2 + E D(x')^2.
    """
    right, wrong = _TELLING[loss]
    return torch.stack([right(r).mean() + wrong(f).mean() for r, f in zip(real, fake, strict=True)]).mean()


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Mean over layers of E |f(x') - f(x)| / E |f(x)| (Défossez et al. 2022, eq. 3), `real` taken as constant."""
    sizes = (ranks.averaged(r.abs().mean()).clamp_min(1e-8) for r in real)
    terms = [(f - r).abs().mean() / size for r, f, size in zip(real, fake, sizes, strict=True)]
    return torch.stack(terms).mean()


def gradient_ratio(fidelity: Tensor, adversarial: Tensor) -> Tensor:
    """The adaptive weight of Esser et al. 2021 (VQGAN), eq. 7: |fidelity| / (|adversarial| + 1e-6), at most 1e4."""
    return (fidelity.norm() / (adversarial.norm() + _DELTA)).clamp(max=_LARGEST).detach()


def whole_gradient(rows: Tensor) -> Tensor:
    """The gradient at all samples of the mean over the ranks of their losses, from that of the own loss at the own."""
    return ranks.gathered(rows) / ranks.count() if ranks.count() > 1 else rows


def gradient_penalty(logits: Sequence[Tensor], signal: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018, eq. 9): half the squared norm of the gradient of a sample's mean logit at `signal`."""
    total = torch.stack([x.flatten(1).mean(1) for x in logits]).mean(0).sum()
    (gradient,) = torch.autograd.grad(total, signal, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


class Adversary(AuxiliaryObjective):
    """See `AdversaryConfig`. Steps before `start` x steps equal those of a training without it, to the bit."""

    def __init__(self, config: AdversaryConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.config = config
        self.discriminator = build_discriminator(config, tokenizer.signal)
        self._pair: tuple[Tensor, Tensor] | None = None

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"discriminator": list(self.discriminator.parameters())}

    def losses(self, training_step: TrainingStep) -> LossTerms:
        """The losses "adversary" and "feature_matching", weighted; logs "adaptive_weight".

        `adaptive_weight` scales the gradient only; the logged loss keeps its unscaled value so that curves stay
        readable.
        """
        if not self.training or training_step.step < self.config.start * training_step.steps:
            return LossTerms()
        config, real, reconstruction = self.config, training_step.signal.float(), training_step.reconstruction
        self._pair = real, reconstruction.detach()
        fake = reconstruction.detach().requires_grad_()
        judgement = self._judge(real, fake)
        loss = generator_loss(judgement.logits, loss=config.loss)
        matches = bool(config.feature_matching)
        (gradient,) = torch.autograd.grad(loss, fake, retain_graph=matches)
        factor = self._adaptive_weight(training_step, gradient) if config.adaptive else torch.ones_like(loss.detach())
        loss = config.weight * loss.detach()
        losses = {"adversary": with_gradient(loss, config.weight * factor * gradient, at=reconstruction)}
        logs = {"adaptive_weight": factor} if config.adaptive else {}
        if matches:
            with torch.no_grad():
                features = self._judge(real, real).features
            distance = config.feature_matching * feature_distance(features, judgement.features)
            (gradient,) = torch.autograd.grad(distance, fake)
            losses["feature_matching"] = with_gradient(distance, gradient, at=reconstruction)
        return LossTerms(losses=losses, logs=logs)

    def group_losses(self, group: str, *, step: int, steps: int) -> Mapping[str, Tensor]:
        """The discriminator's loss on this step's signals and reconstructions, and its mean logits of each."""
        if self._pair is None:
            return {}
        (real, fake), self._pair = self._pair, None
        if self.config.r1:
            real = real.clone().requires_grad_()
        real_logits, fake_logits = self._judge(real, real).logits, self._judge(real.detach(), fake).logits
        loss = discriminator_loss(real_logits, fake_logits, loss=self.config.loss)
        logs = {"real": _mean(real_logits), "fake": _mean(fake_logits)}
        if self.config.r1:
            penalty = self.config.r1 * gradient_penalty(real_logits, real)
            loss = loss + penalty
            logs["r1"] = penalty.detach()
        return {"loss": loss, **logs}

    def _judge(self, real: Tensor, candidate: Tensor) -> Judgement:
        """The discriminator's judgement of `candidate` `[B, C, *signal]`, if `paired` together with the real signal."""
        # A view: torch's FLOP counter can't follow `autograd.grad` where a module is called with a leaf.
        x = torch.cat([real, candidate], dim=1) if self.config.paired else candidate.view_as(candidate)
        with step_precision(x.device):
            judgement: Judgement = self.discriminator(x)
        logits, features = (tuple(x.float() for x in part) for part in (judgement.logits, judgement.features))
        return Judgement(logits=logits, features=features)

    def _adaptive_weight(self, training_step: TrainingStep, gradient: Tensor) -> Tensor:
        """Ratio of gradients at the decoder's last layer; `gradient` is the adversarial loss's at the reconstruction.

        For a decoder without weights the ratio is taken at its output.
        """
        layer, reconstruction = last_layer(training_step.tokenizer.decoder), training_step.reconstruction
        if layer is None or not layer.weight.requires_grad:
            (fidelity,) = torch.autograd.grad(training_step.fidelity, reconstruction, retain_graph=True)
            return gradient_ratio(whole_gradient(fidelity), whole_gradient(gradient))
        (fidelity,) = torch.autograd.grad(training_step.fidelity, layer.weight, retain_graph=True)
        (adversarial,) = torch.autograd.grad(reconstruction, layer.weight, gradient, retain_graph=True)
        return gradient_ratio(ranks.averaged(fidelity), ranks.averaged(adversarial))


def build_discriminator(config: AdversaryConfig, signal: SignalSpec) -> Discriminator:
    """The network for such signals, or for pairs of them."""
    channels = signal.channels * (2 if config.paired else 1)
    net = config.net_for(signal)
    if net == "period":
        return PeriodDiscriminator(channels=channels, width=config.width)
    if net in _SPECTRAL:
        return _SPECTRAL[net](
            signal.shape[0], channels=channels, width=config.width, layers=config.layers or 3, windows=config.windows
        )
    if net == "style":
        return StyleDiscriminator(signal.shape, channels=channels, width=config.width, layers=config.layers)
    of_patches = TemporalDiscriminator if net == "temporal" else PatchDiscriminator
    return of_patches(signal.shape, channels=channels, width=config.width, layers=config.layers or 3)


class _WithGradient(torch.autograd.Function):
    """A scalar with a prescribed gradient (avoids a second backward through the discriminator)."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None


def with_gradient(value: Tensor, gradient: Tensor, *, at: Tensor) -> Tensor:
    """The scalar `value`, whose gradient with respect to the tensor `at` is `gradient`."""
    scalar: Tensor = _WithGradient.apply(at, value.detach(), gradient.detach())
    return scalar


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([x.detach().mean() for x in logits]).mean()
