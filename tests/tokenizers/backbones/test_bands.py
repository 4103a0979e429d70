"""Spectrograms whose bands are channels: convolutions along time alone, one row of latents, in values and codes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.ar import ARPrior
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.flow import FlowPrior
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

BANDS, FRAMES = 20, 16
MEL = MelSpec(sample_rate=16000, n_mels=BANDS, n_fft=256, hop=64)
SIGNAL = SignalSpec(
    modality=Modality.SPECTROGRAM,
    channels=1,
    shape=(BANDS, FRAMES),
    rate=16000.0,
    mel=MEL,
    source_shape=(1, FRAMES * 64),
)
ROW: dict[str, Any] = {"downsample": 4, "width": 8, "backbone": {"bands": "channels"}}


def tokenizer(recipe: str, **options: Any) -> ComposedTokenizer:
    made = build(resolve(recipe, SIGNAL, ROW | options))
    assert isinstance(made, ComposedTokenizer)
    for parameter in made.parameters():  # both halves start at zero
        with torch.no_grad():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made.eval()


def test_values_are_one_row_along_time() -> None:
    vae, x = tokenizer("kl-vae", channels=6), torch.randn(3, 1, BANDS, FRAMES).clamp(-1, 1)
    assert vae.spec.grid.shape == (1, FRAMES // 4)
    latents = vae.encode(x)
    assert latents.values is not None
    assert latents.values.shape == (3, 6, 1, FRAMES // 4)
    assert vae.decode(latents).shape == x.shape
    convolutions = [m for m in vae.encoder.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]
    assert {type(m) for m in convolutions} == {nn.Conv1d}
    assert convolutions[0].in_channels == BANDS


def test_codes_are_as_many_as_the_row_has_positions() -> None:
    vq, x = tokenizer("rvq", levels=3, codebook_size=16), torch.randn(2, 1, BANDS, FRAMES).clamp(-1, 1)
    latents = vq.encode(x)
    assert latents.codes is not None
    assert latents.codes.shape == (2, 3, 1, FRAMES // 4)
    assert torch.equal(vq.decode(latents), vq.decode(vq.encode(x)))
    assert resolve("rvq", SIGNAL, {**ROW, "kbps": 5}).spec.grid.heads == 10  # 62.5 positions a second of 8 bits


def test_a_tsr_is_solved_for_the_channels_of_the_row() -> None:
    config = resolve("kl-vae", SIGNAL, {**ROW, "tsr": 12.8})
    assert config.channels == 20  # 1024 samples on four positions
    assert config.downsample == (BANDS, 4)
    assert config == resolve("kl-vae", SIGNAL, {**ROW, "tsr": 12.8, "downsample": [BANDS, 4]})


def test_a_band_reaches_all_of_a_latent_and_a_moment_only_its_neighbours() -> None:
    vae = tokenizer("ae", channels=6, backbone={"bands": "channels", "groups": 1, "blocks": 0})
    layers = [module for module in vae.encoder.layers if not isinstance(module, nn.GroupNorm)]  # norms see all of time
    x = torch.randn(1, 1, BANDS, FRAMES)
    other = x.clone()
    other[..., 0, -1] += 1  # one band, in the last of four positions
    with torch.no_grad():
        ours, theirs = x.flatten(1, 2), other.flatten(1, 2)
        for layer in layers:
            ours, theirs = layer(ours), layer(theirs)
    changed = (ours != theirs).any(1)[0]
    assert changed.tolist() == [False, False, False, True]
    assert bool((ours != theirs)[0, :, -1].sum() > 1)


def test_its_cost_is_what_it_computes() -> None:
    config = resolve("kl-vae", SIGNAL, {**ROW, "channels": 6})
    made = build(config)
    assert isinstance(made, ComposedTokenizer)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        made.decode(made.encode(torch.zeros(1, 1, BANDS, FRAMES)))
    assert config.estimate_flops() == pytest.approx(counted.get_total_flops(), rel=0.02)
    assert config.estimate_parameters() == sum(p.numel() for p in made.parameters())


def test_priors_model_the_row() -> None:
    small: dict[str, Any] = {"width": 16, "layers": 1, "attention_heads": 2}
    x = torch.randn(2, 1, BANDS, FRAMES)
    vq, vae = tokenizer("rvq", levels=2, codebook_size=16), tokenizer("kl-vae", channels=6)
    ar, flow = ARPrior(ARConfig(**small), vq.spec), FlowPrior(FlowConfig(**small), vae.spec)
    assert ar.sample(3, seed=0).codes.shape == (3, 2, 1, FRAMES // 4)
    assert flow.sample(3, seed=0).values.shape == (3, 6, 1, FRAMES // 4)
    bits = ar.held_out(LatentBatch(latents=vq.encode(x)))["nll_bits"]
    assert bits.shape == (2,)


@pytest.mark.parametrize(
    ("signal", "options", "message"),
    [
        (SIGNAL, {"downsample": [2, 4]}, r"one row of latents: expected 4 or \[20, 4\], got \[2, 4\]"),
        (
            SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16)),
            {},
            r"bands = \"channels\" is for spectrograms, not image",
        ),
    ],
)
def test_what_it_can_t_do_is_said_in_one_line(signal: SignalSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("kl-vae", signal, {**ROW, "channels": 4, **options})
