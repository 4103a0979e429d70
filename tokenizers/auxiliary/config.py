"""The base of the auxiliary objectives' configurations, and their registry. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..backbones.config import BackboneConfig
from ..bottlenecks.config import BottleneckConfig
from ..cost import Cost
from ..diffusion_decoders.config import DiffusionDecoderConfig
from ..geometry import Layout
from ..losses.config import LossConfig, WeightedPart
from ..registry import Registry
from ..spec import LatentSpec, SignalSpec


class TokenizerParts(Protocol):
    """What an objective reads of the configuration of the tokenizer that it trains with.

    `TokenizerConfig` is one. It holds the objectives' configurations, so these can't import it.
    """

    @property
    def signal(self) -> SignalSpec: ...
    @property
    def downsample(self) -> tuple[int, ...]: ...
    @property
    def channels(self) -> int: ...
    @property
    def backbone(self) -> BackboneConfig: ...
    @property
    def bottleneck(self) -> BottleneckConfig: ...
    @property
    def losses(self) -> tuple[LossConfig, ...]: ...
    @property
    def diffusion_decoder(self) -> DiffusionDecoderConfig | None: ...
    @property
    def auxiliary_objectives(self) -> tuple[AuxiliaryObjectiveConfig, ...]: ...
    @property
    def spec(self) -> LatentSpec: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def features(self) -> int: ...
    @property
    def decoding(self) -> BackboneConfig: ...


@dataclass(frozen=True, kw_only=True)
class AuxiliaryObjectiveConfig(WeightedPart):
    """One auxiliary objective. `build(tokenizer)` gives its module for a tokenizer of these parts."""

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        """Why it makes no sense with these parts, the other auxiliary objectives included; None where it does."""
        return None

    def cost(self, tokenizer: TokenizerParts) -> Cost:
        """What it adds to the trained tokenizer: nothing, unless it is kept at inference."""
        return Cost()

    def schedule_milestones(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes: FLOPs are counted at each."""
        return ()


def nothing_to_train(tokenizer: TokenizerParts) -> str | None:
    """Why an objective of the encoder alone would train nothing; None where it trains something."""
    if tokenizer.bottleneck.trained:
        return None
    return f"it trains the encoder, and nothing trains that of bottleneck {tokenizer.bottleneck.kind!r}"


AUXILIARY = Registry(
    "auxiliary objective",
    "latentbench.auxiliary",
    {
        "adversary": "tokenizers.auxiliary.adversary_config:AdversaryConfig",
        "balancer": "tokenizers.auxiliary.balancer_config:BalancerConfig",
        "auxiliary_decoder": "tokenizers.auxiliary.auxiliary_decoder_config:AuxiliaryDecoderConfig",
        "self_supervised": "tokenizers.auxiliary.self_supervised_config:SelfSupervisedConfig",
    },
    base=AuxiliaryObjectiveConfig,
)
