"""Griffin-Lim as a vocoder: the baseline, which is not trained."""

from __future__ import annotations

from torch import Tensor

from ...tokenizers.mel import LogMel
from ...tokenizers.spec import SignalSpec
from .base import Vocoder
from .config import GriffinLimConfig


class GriffinLim(Vocoder):
    """See `LogMel.invert`."""

    def __init__(self, config: GriffinLimConfig, signal: SignalSpec, *, iterations: int = 32) -> None:
        super().__init__(config, signal)
        self.iterations = iterations
        self.protocol = f"Griffin-Lim, {iterations} iterations"
        self.log_mel = LogMel(self.mel)

    def render(self, mel: Tensor) -> Tensor:
        return self.log_mel.invert(mel, iterations=self.iterations)
