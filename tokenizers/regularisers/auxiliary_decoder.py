"""The auxiliary decoder: its loss alone trains the encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..backbones.conv import pointwise
from ..backbones.shortcut import Shortcut
from ..config import TokenizerConfig
from ..losses.objective import Objective
from .auxiliary_config import AuxiliaryDecoderConfig
from .base import LossTerms, Regulariser, TrainingStep
from .layers import last_layer

if TYPE_CHECKING:
    from ..composed import ComposedTokenizer


class AuxiliaryDecoder(Regulariser):
    """See `AuxiliaryDecoderConfig`. The bottleneck's own losses go on to reach the encoder."""

    detaches_values: ClassVar[bool] = True

    def __init__(self, config: AuxiliaryDecoderConfig, tokenizer: TokenizerConfig) -> None:
        super().__init__()
        self.weight = config.weight
        backbone = config.backbone(tokenizer)
        given = tokenizer.bottleneck.outputs(tokenizer.channels, tokenizer.features)
        wanted = backbone.features(tokenizer.signal, tokenizer.downsample)
        self.project: nn.Module = nn.Identity()
        if not tokenizer.bottleneck.projects or given != wanted:
            self.project = pointwise(given, wanted, len(tokenizer.layout.shape))
        self.decoder = backbone.build_decoder(tokenizer.signal, tokenizer.downsample)
        self.objective = Objective(config.terms(tokenizer), tokenizer.signal)
        self.shortcut = self._make_shortcut(tokenizer)
        layer = last_layer(self.decoder)
        if self.shortcut is not None and layer is not None:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def on_train_start(self, tokenizer: ComposedTokenizer, batches: Iterable[Any]) -> None:
        """Starts at the linear decoder that the main one starts at."""
        if self.shortcut is not None and tokenizer.shortcut is not None:
            self.shortcut.load_state_dict(tokenizer.shortcut.state_dict())

    def forward(self, values: Tensor) -> Tensor:
        """What it makes of the latents that the main decoder reads: `[B, C, *signal]`."""
        signal: Tensor = self.decoder(self.project(values))
        return signal if self.shortcut is None else signal + self.shortcut.decode(values)

    @staticmethod
    def _make_shortcut(config: TokenizerConfig) -> Shortcut | None:
        """The tokenizer's, of which only the half that decodes is used and trained."""
        given = config.bottleneck.outputs(config.channels, config.features)
        if not config.decoding.has_shortcut() or config.bottleneck.projects or given != config.channels:
            return None
        owner = config.backbone if config.backbone.has_shortcut() else config.decoding
        shortcut = owner.build_shortcut(config.signal, config.downsample, config.channels)
        if shortcut is None:
            return None
        with torch.enable_grad():
            made = shortcut.decode(torch.zeros(1, given, *config.layout.shape))
        parameters = list(shortcut.parameters())
        for parameter, used in zip(
            parameters, torch.autograd.grad(made.sum(), parameters, allow_unused=True), strict=True
        ):
            parameter.requires_grad_(used is not None)
        return shortcut

    def losses(self, done: TrainingStep) -> LossTerms:
        """The terms "auxiliary_<term>", weighted, of its own reconstruction."""
        terms = self.objective(self(done.values), done.signal)
        return LossTerms(losses={f"auxiliary_{name}": self.weight * term for name, term in terms.items()})
