"""TAEF2, the tiny autoencoder for FLUX.2, with its real weights through the user's door, on Kodak's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.tasks.metrics.psnr import psnr
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.python_config import PythonConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.spec import Modality, SignalSpec

TAEF2 = """
import torch
from torch import nn


class Residual(nn.Module):
    # Three convolutions beside the identity; `pool` first mixes each picture's channels through a group norm.
    def __init__(self, mixes):
        super().__init__()
        layers = [layer for _ in range(3) for layer in (nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())]
        self.conv = nn.Sequential(*layers[:-1])
        wide = (nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(), nn.Conv2d(256, 64, 1, bias=False))
        self.pool = nn.Sequential(*wide) if mixes else None

    def forward(self, x):
        x = x if self.pool is None else x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Bounded(nn.Module):
    def forward(self, z):
        return 3 * torch.tanh(z / 3)


class TAEF2(nn.Module):
    spec = {"modality": "image", "range": [0.0, 1.0], "channels": 3, "multiple": 8, "licence": "MIT"}

    def __init__(self, encoder_weights, decoder_weights):
        super().__init__()
        down = [nn.Conv2d(3, 64, 3, padding=1), Residual(False)]
        up = [Bounded(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()]
        for stage in range(3):
            down += [nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False), *(Residual(stage == 2) for _ in range(3))]
            up += [*(Residual(stage == 0) for _ in range(3)), nn.Upsample(scale_factor=2)]
            up += [nn.Conv2d(64, 64, 3, padding=1, bias=False)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(64, 32, 3, padding=1))
        self.decoder = nn.Sequential(*up, Residual(False), nn.Conv2d(64, 3, 3, padding=1))
        for module, path in ((self.encoder, encoder_weights), (self.decoder, decoder_weights)):
            module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z).clamp(0, 1)
"""


@pytest.mark.slow
@torch.no_grad()
def test_taef2_gives_kodak_back_as_published(shared_data: Path, tmp_path: Path) -> None:
    from PIL import Image

    chosen = [shared_data / "images" / "kodak" / f"{number}.png" for number in ("01", "05", "15")]
    (tmp_path / "taef2.py").write_text(TAEF2)
    weights = {f"{part}_weights": str(shared_data / "weights" / f"taef2_{part}.pth") for part in ("encoder", "decoder")}
    config = PythonConfig(path=f"{tmp_path}/taef2.py:TAEF2", options=weights).located("eval")
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(512, 512))
    tokenizer = AdapterTokenizer(config, signal, describe(config, signal, "eval").grids)
    assert tokenizer.spec.grid.shape == (64, 64)
    assert (tokenizer.spec.grid.channels, tokenizer.spec.tsr) == (32, 6)
    values = []
    for path in chosen:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        crop = torch.from_numpy(pixels[:512, :512].copy()).movedim(-1, 0)
        x = crop.unsqueeze(0) / 127.5 - 1
        decoded = tokenizer.decode(tokenizer.encode(x))
        values.append(float(psnr(((decoded + 1) * 127.5).round().clamp(0, 255).byte(), crop.unsqueeze(0))))
    assert values == pytest.approx([27.5, 27.8, 30.3], abs=0.15)
