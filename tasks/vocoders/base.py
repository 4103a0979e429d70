"""What a vocoder is to the tasks: a module that renders log-mel spectrograms as waveforms."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from ...tokenizers.interface import Trainable
from ...tokenizers.spec import SignalSpec
from .config import VocoderConfig


class Vocoder(Trainable):
    """Constructed with its configuration and the signal, a spectrogram's; `protocol` says in a few words what it is.

    The training loop fits it to waveforms `[B, C, N]` of the data set's training split, in [-1, 1]; one that
    starts from something (its configuration's `started` is above 0) to pairs of these and what `start` gives of them.
    """

    protocol: str

    def __init__(self, config: VocoderConfig, signal: SignalSpec) -> None:
        super().__init__()
        assert signal.mel is not None
        self.config: VocoderConfig = config
        self.signal, self.mel = signal, signal.mel

    @abstractmethod
    def render(self, mel: Tensor) -> Tensor:
        """Log-mel `[B, C, M, T]` in [-1, 1] to waveforms `[B, C, T * hop]`, each of its own log-mel alone."""

    def start(self, mel: Tensor) -> Tensor | None:
        """The waveforms `[B, C, T * hop]` that `render` goes on from, which no training changes; None where it goes on
        from none."""
        return None
