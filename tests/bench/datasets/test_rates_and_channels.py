"""Sounds of the usual rates, in mono and in stereo, from files to what a tokenizer gives back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, fingerprint, open_dataset
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality

from .conftest import write_wav

SECONDS, PITCHES = 0.25, (440.0, 1000.0)
FILE_RATE = 44100


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
def test_a_pitch_stays_where_it_is(rate: int, channels: int, tmp_path: Path) -> None:
    """The files have a pitch on each side: stereo keeps them apart, mono has both at half the level."""
    time = np.arange(FILE_RATE) / FILE_RATE
    sides = np.stack([0.5 * np.sin(2 * np.pi * pitch * time) for pitch in PITCHES])
    for number in range(4):
        gain = (1 - 0.1 * number) * 32767
        write_wav(tmp_path / "sounds" / f"{number}.wav", (gain * sides).round().astype(np.int16), rate=FILE_RATE)
    config = DataConfig(
        source="folder",
        path=str(tmp_path / "sounds"),
        modality=Modality.WAVEFORM,
        sample_rate=rate,
        channels=channels,
        seconds=SECONDS,
        val=1,
    )
    data = open_dataset(config, cache=tmp_path / "cache", fingerprint=fingerprint(config, cache=tmp_path / "cache"))
    samples = data.train.batch(np.arange(len(data.train)), torch.device("cpu"))
    n = samples.shape[2]
    assert samples.shape[1:] == (channels, *data.signal.shape)
    assert data.signal.rate == rate
    assert abs(n / rate - SECONDS) <= 8 / rate
    spectrum = torch.fft.rfft(samples * torch.hann_window(n), dim=2).abs()
    hertz = torch.fft.rfftfreq(n, 1 / rate)
    for channel in range(channels):
        for side, pitch in enumerate(PITCHES):
            level = spectrum[:, channel, (hertz - pitch).abs() < 12].amax(1) / (n / 4)  # of a sine's amplitude
            expected = 0.25 if channels == 1 else 0.5 * (side == channel)
            assert bool((level < expected + 0.03).all())
            assert bool((level > 0.6 * expected).all())
    options = {"width": 8, "downsample": 16, "channels": 8}
    tokenizer = build(resolve("kl-vae", data.signal, options)).eval()
    with torch.no_grad():
        latents = tokenizer.encode(samples)
        assert latents.values is not None
        assert latents.values.shape == (len(samples), 8, n // 16)
        assert tokenizer.decode(latents).shape == samples.shape
    assert tokenizer.spec.signal.rate == rate
