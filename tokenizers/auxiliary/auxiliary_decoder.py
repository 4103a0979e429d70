"""The auxiliary decoder: only its loss, and not the main decoder's, trains the encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..backbones.conv import pointwise
from ..backbones.layers import zero_last_layer
from ..backbones.shortcut import Shortcut
from ..losses.objective import Objective
from .auxiliary_decoder_config import AuxiliaryDecoderConfig
from .base import AuxiliaryObjective, LossTerms, TrainedTokenizer, TrainingStep
from .config import TokenizerParts


class AuxiliaryDecoder(AuxiliaryObjective):
    """See `AuxiliaryDecoderConfig`. The bottleneck's own losses still reach the encoder."""

    detaches_values: ClassVar[bool] = True

    def __init__(self, config: AuxiliaryDecoderConfig, tokenizer: TokenizerParts) -> None:
        super().__init__()
        self.weight = config.weight
        backbone = config.backbone(tokenizer)
        inputs = tokenizer.bottleneck.outputs(tokenizer.channels, tokenizer.features)
        outputs = backbone.features(tokenizer.signal, tokenizer.downsample)
        self.project: nn.Module = nn.Identity()
        if not tokenizer.bottleneck.projects or inputs != outputs:
            self.project = pointwise(inputs, outputs, len(tokenizer.layout.shape))
        self.decoder = backbone.build_decoder(tokenizer.signal, tokenizer.downsample)
        self.objective = Objective(config.losses(tokenizer), tokenizer.signal)
        self.shortcut = _build_shortcut(tokenizer)
        if self.shortcut is not None:
            zero_last_layer(self.decoder)

    def on_train_start(self, tokenizer: TrainedTokenizer, batches: Iterable[Any]) -> None:
        """Starts at the same linear decoder as the main one."""
        if self.shortcut is not None and tokenizer.shortcut is not None:
            self.shortcut.load_state_dict(tokenizer.shortcut.state_dict())

    def forward(self, values: Tensor) -> Tensor:
        """Decodes what the main decoder reads: `[B, outputs, *grid]` to `[B, C, *signal]`."""
        signal: Tensor = self.decoder(self.project(values))
        return signal if self.shortcut is None else signal + self.shortcut.decode(values)

    def losses(self, training_step: TrainingStep) -> LossTerms:
        """The losses "auxiliary_<name>", weighted, of its own reconstruction."""
        losses = self.objective(self(training_step.values), training_step.signal)
        return LossTerms(losses={f"auxiliary_{name}": self.weight * loss for name, loss in losses.items()})


def _build_shortcut(tokenizer: TokenizerParts) -> Shortcut | None:
    """A twin of the tokenizer's shortcut, of which only the decoding half is used and trained."""
    values = tokenizer.bottleneck.outputs(tokenizer.channels, tokenizer.features)
    if not tokenizer.decoding.has_shortcut() or tokenizer.bottleneck.projects or values != tokenizer.channels:
        return None
    owner = tokenizer.backbone if tokenizer.backbone.has_shortcut() else tokenizer.decoding
    shortcut = owner.build_shortcut(tokenizer.signal, tokenizer.downsample, tokenizer.channels)
    if shortcut is None:
        return None
    with torch.enable_grad():
        decoded = shortcut.decode(torch.zeros(1, values, *tokenizer.layout.shape))
    parameters = list(shortcut.parameters())
    gradients = torch.autograd.grad(decoded.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    return shortcut
