"""A denoiser of dilated gated convolutions over one axis (DiffWave; Kong et al. 2021).

Shape legend: B batch, C channels, N positions, E embedding width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.backbones.time import TimeEmbedding
from ...tokenizers.spec import LatentSpec
from .diffusion_config import TIME_FEATURES
from .diffwave_config import DiffWaveConfig
from .dilated import DilatedStack


class DiffWave(nn.Module):
    """What is predicted from a noisy sequence and its time; zero at the start of training."""

    def __init__(self, config: DiffWaveConfig, spec: LatentSpec) -> None:
        super().__init__()
        channels, width = config.patch_elements(spec), config.width
        self.time = TimeEmbedding(config.embedding, features=TIME_FEATURES)
        self.stem = nn.Conv1d(channels, width, 1)
        self.stack = DilatedStack(
            width, config.layers, config.cycle, causal=False, embedding=config.embedding, dropout=config.dropout
        )
        self.hidden = nn.Conv1d(width, width, 1)
        self.out = nn.Conv1d(width, channels, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """`[B, C, N]` and times `[B]` to `[B, C, N]`; `condition` `[B, E]` is added to the time's embedding."""
        h = self.stack(F.silu(self.stem(x)), self.time(t, condition))
        return self.out(F.silu(self.hidden(F.silu(h))))
