"""Whether what the main decoder learns from reaches the encoder, and what dropping training-only modules changes.

Claimed of semantic-first quantisation (A17) and auxiliary decoders (B4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ...results.metric import Metric
from ...tokenizers.auxiliary.base import AuxiliaryObjective, LossTerms, TrainingStep
from ...tokenizers.composed import ComposedTokenizer
from ...tokenizers.seeding import derive_seed
from .interface import Probe, ProbeInput


class GradientIsolation(Probe):
    """See `GradientIsolationConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if probed.untrained is None or not isinstance(probed.tokenizer, ComposedTokenizer):
            return "it is not trained by a gradient"
        if not any(True for _ in probed.tokenizer.decoder.parameters()):
            return "its decoder has no parameters"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        assert probed.untrained is not None
        batches = [x for _, x in probed.signals()]
        with torch.enable_grad(), torch.random.fork_rng(devices=_devices(batches[0])):
            torch.manual_seed(derive_seed(probed.seed, "gradient_isolation"))
            whole = whole_tokenizer(probed, batches)
            share = encoder_share(whole, batches[0])
        latents = probed.tokenizer.encode(batches[0])
        change = (probed.as_evaluated(whole).decode(latents) - probed.tokenizer.decode(latents)).abs().max()
        line = "the main decoder's losses (objective and generative decoder) in one training pass on trained weights"
        return (
            Metric(
                name="encoder_gradient",
                value=share if math.isfinite(share) else None,
                n=len(batches[0]),
                direction="none",
                protocol=f"‖gradient of the encoder‖ / ‖gradient of the decoder‖ of {line}",
            ),
            Metric(
                name="companion_effect",
                value=float(change),
                n=len(batches[0]),
                direction="lower",
                protocol="max |decode with companions of training - decode without them|; validation split",
            ),
        )


class _Listener(AuxiliaryObjective):
    """Keeps the losses of the main decoder and adds nothing."""

    fidelity: Tensor

    def losses(self, training_step: TrainingStep) -> LossTerms:
        self.fidelity = training_step.fidelity
        return LossTerms()


def whole_tokenizer(probed: ProbeInput, batches: Sequence[Tensor]) -> ComposedTokenizer:
    """The tokenizer as it is in training: training-only modules at their start, trained weights in all else."""
    assert probed.untrained is not None
    assert isinstance(probed.tokenizer, nn.Module)
    whole = probed.untrained().to(probed.device)
    assert isinstance(whole, ComposedTokenizer)
    with torch.no_grad():
        whole.on_train_start(batches)
        whole.load_state_dict({k: v.clone() for k, v in probed.tokenizer.state_dict().items()}, strict=False)
    return whole


def encoder_share(tokenizer: ComposedTokenizer, x: Tensor) -> float:
    """‖dL/d encoder‖ / ‖dL/d decoder‖ with L the losses of the main decoder on signals `x` `[B, C, *signal]`.

    The encoder is all that stands before the bottleneck. NaN when the decoder has no gradient either.
    """
    listener = _Listener()
    tokenizer.train()
    tokenizer.auxiliary_objectives["_listener"] = listener
    try:
        tokenizer.losses(x, group="model", step=99, steps=100)
    finally:
        del tokenizer.auxiliary_objectives["_listener"]
    before = [*tokenizer.encoder.parameters(), *tokenizer.project_in.parameters()]
    behind = [*tokenizer.decoder.parameters(), *tokenizer.project_out.parameters()]
    if tokenizer.diffusion_decoder is not None:
        behind += tokenizer.diffusion_decoder.parameters()
    norms = [_norm(listener.fidelity, part) for part in (before, behind)]
    return norms[0] / norms[1] if norms[1] > 0 else math.nan


def _norm(loss: Tensor, parameters: Iterable[nn.Parameter]) -> float:
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        return 0.0
    gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))


def _devices(x: Tensor) -> list[torch.device]:
    return [x.device] if x.device.type == "cuda" else []
