"""The base of the diffusion decoders' configurations, and their registry. No torch."""

from __future__ import annotations

from typing import ClassVar

from ..cost import Cost
from ..part import Part
from ..registry import Registry
from ..spec import SignalSpec


class DiffusionDecoderConfig(Part):
    """A conditional generative model of the signal, conditioned on the feed-forward decoder's output.

    `build(signal)` gives its module for signals of that specification. `points` are the names of the tokenizer's
    operating points with it, `<n>` for a number.
    """

    points: ClassVar[tuple[str, ...]] = ()

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        """Why it can't decode such signals; None where it can."""
        return None

    def cost(self, signal: SignalSpec) -> Cost:
        """Parameters, and FLOPs of decoding one sample."""
        raise NotImplementedError

    def freeze_start(self) -> float:
        """The share of the training from which on encoder and bottleneck stay as they are; 1 for never."""
        return 1.0

    def schedule_milestones(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes: FLOPs are counted at each."""
        return ()


DIFFUSION_DECODERS = Registry(
    "diffusion decoder",
    "latentbench.diffusion_decoders",
    {
        "diffusion": "tokenizers.diffusion_decoders.diffusion_config:FlowDecoderConfig",
    },
    base=DiffusionDecoderConfig,
)
