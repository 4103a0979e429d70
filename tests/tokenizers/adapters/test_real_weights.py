"""Real weights through the user's door: TAEF2 on Kodak's pictures, Lyra V2 on speech."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.psnr import psnr
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.diffusers_config import DiffusersConfig
from latentbench.tokenizers.adapters.python_config import PythonConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.spec import Modality, SignalSpec

PAGE = Path(__file__).parents[3] / "docs" / "adapters.md"
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


# The same by diffusers' class: its blocks lack the pool, and its layers start after the bound.
LIKE_TINY = """
import torch
from diffusers import AutoencoderTiny
from torch import nn


class Mixed(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.conv = block.conv
        wide = (nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(), nn.Conv2d(256, 64, 1, bias=False))
        self.pool = nn.Sequential(*wide)

    def forward(self, x):
        x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class TAEF2(AutoencoderTiny):
    spec = {"modality": "image", "channels": 3, "multiple": 8, "licence": "MIT"}

    def __init__(self, encoder_weights, decoder_weights):
        super().__init__(latent_channels=32)
        for layers, mixed in ((self.encoder.layers, (11, 12, 13)), (self.decoder.layers, (2, 3, 4))):
            for at in mixed:
                layers[at] = Mixed(layers[at])
        parts = ((self.encoder.layers, encoder_weights, 0), (self.decoder.layers, decoder_weights, 1))
        for layers, path, first in parts:
            state = torch.load(path, map_location="cpu", weights_only=True)
            named = {f"{int(key.split('.')[0]) - first}.{key.partition('.')[2]}": value for key, value in state.items()}
            layers.load_state_dict(named)
"""


def _taef2(shared_data: Path) -> dict[str, str]:
    weights = {f"{part}_weights": shared_data / "weights" / f"taef2_{part}.pth" for part in ("encoder", "decoder")}
    if not all(path.is_file() for path in weights.values()):
        pytest.skip(f"TAEF2's weights are not present in {shared_data}")
    return {name: str(path) for name, path in weights.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "picture", "db"), [(TAEF2, "15", 30.3), (LIKE_TINY, "05", 27.8)], ids=["plain", "like AutoencoderTiny"]
)
@torch.no_grad()
def test_taef2_gives_kodak_back_as_published(
    shared_data: Path, tmp_path: Path, code: str, picture: str, db: float
) -> None:
    from PIL import Image

    (tmp_path / "taef2.py").write_text(code)
    config = PythonConfig(path=f"{tmp_path}/taef2.py:TAEF2", options=_taef2(shared_data)).located("eval")
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(512, 512))
    tokenizer = AdapterTokenizer(config, signal, describe(config, signal, "eval").grids)
    assert tokenizer.spec.grid.shape == (64, 64)
    assert (tokenizer.spec.grid.channels, tokenizer.spec.tsr) == (32, 6)
    pixels = np.asarray(Image.open(shared_data / "images" / "kodak" / f"{picture}.png").convert("RGB"))
    crop = torch.from_numpy(pixels[:512, :512].copy()).movedim(-1, 0).unsqueeze(0)
    decoded = tokenizer.decode(tokenizer.encode(crop / 127.5 - 1))
    value = float(psnr(((decoded + 1) * 127.5).round().clamp(0, 255).byte(), crop))
    assert value == pytest.approx(db, abs=0.15)


@pytest.mark.slow
def test_taef2_is_refused_as_an_autoencodertiny(shared_data: Path, tmp_path: Path) -> None:
    """diffusers' class has no pool: it would leave those weights out, warn, and give other numbers."""
    from diffusers import AutoencoderTiny
    from safetensors.torch import load_file, save_file

    weights = _taef2(shared_data)
    AutoencoderTiny(latent_channels=32).save_pretrained(tmp_path)
    state = {}
    for part, first in (("encoder", 0), ("decoder", 1)):
        for key, value in torch.load(weights[f"{part}_weights"], weights_only=True).items():
            layer, _, rest = key.partition(".")
            state[f"{part}.layers.{int(layer) - first}.{rest}"] = value
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    assert load_file(file).keys() <= state.keys()
    save_file(state, file, {"format": "pt"})
    config = DiffusersConfig(path=str(tmp_path)).located("eval")
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(64, 64))
    with pytest.raises(UserError) as error:
        describe(config, signal, "eval")
    assert str(error.value) == (
        "eval: AutoencoderTiny has no place for decoder.layers.2.pool.0.weight and 23 more: "
        "its weights are of another architecture"
    )


def _log_mel(x: Tensor) -> Tensor:
    """`[N]` samples at 16 kHz to `[64, T]`."""
    import torchaudio

    mel = torchaudio.transforms.MelSpectrogram(16000, n_fft=1024, hop_length=320, n_mels=64)
    return torch.log10(mel(x) + 1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_the_page_s_lyra_gives_speech_back(shared_data: Path, tmp_path: Path) -> None:
    """The more codes per frame, the nearer the log-mel spectrogram; each clip starts from a fresh state."""
    pytest.importorskip("ai_edge_litert")
    import torchaudio
    from scipy.io import wavfile

    folder, sound = shared_data / "weights" / "lyra_v2", shared_data / "audio" / "lyra_speech" / "sample1_48kHz.wav"
    if not (folder.is_dir() and sound.is_file()):
        pytest.skip(f"Lyra or its speech is not present: {folder}, {sound}")
    (code,) = re.findall(r"```python\n(# my_lyra.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_lyra.py").write_text(code)
    rate, samples = wavfile.read(sound)
    speech = torchaudio.functional.resample(torch.from_numpy(samples / 32768).float(), rate, 16000)[
        16000 : 16000 + 32000
    ]
    x = torch.stack([speech, speech.flip(0)]).unsqueeze(1)[..., :15900]
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(15900,), rate=16000.0)
    likeness = []
    for levels in (16, 46):
        options = {"folder": str(folder), "levels": levels}
        config = PythonConfig(path=f"{tmp_path}/my_lyra.py:Lyra", options=options).located("eval")
        tokenizer = AdapterTokenizer(config, signal, describe(config, signal, "eval").grids)
        assert (tokenizer.spec.grid.shape, tokenizer.spec.bits_per_sample) == ((50,), 50 * levels * 4)
        latents = tokenizer.encode(x)
        assert latents.codes is not None
        alone = tokenizer.encode(x[1:]).codes
        assert alone is not None
        assert torch.equal(latents.codes[1:], alone)
        decoded = tokenizer.decode(latents)
        assert decoded.shape == x.shape
        pair = torch.stack([_log_mel(speech[:15900]).flatten(), _log_mel(decoded[0, 0]).flatten()])
        likeness.append(float(torch.corrcoef(pair)[0, 1]))
    assert 0.93 < likeness[0] < likeness[1], likeness
