"""Traps of diffusers that a family of models sets: sizes, normalisers, noise, types (table in docs/adapters.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.contract import check_contract, failures
from latentbench.tasks.metrics.posterior import kl_bits_by_channel
from latentbench.tokenizers.adapters.diffusers_config import DiffusersConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.spec import SignalSpec

from .test_diffusers import load, real

MakeSignal = Callable[..., SignalSpec]
Save = Callable[..., tuple[Any, Path]]

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("probed_for_real"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames", "rule"),
    [
        ("AutoencoderKLWan", 31, "4k+1 frames, and 31 would be cut or padded silently; nearest: 29 or 33"),
        ("AutoencoderKLQwenImage", 8, "4k+1 frames, and 8 would be cut or padded silently; nearest: 5 or 9"),
        ("AutoencoderKLHunyuanVideo", 16, "4k+1 frames, and 16 would be cut or padded silently; nearest: 13 or 17"),
        ("AutoencoderKLCogVideoX", 48, "4k+1 frames, and 48 would be cut or padded silently; nearest: 45 or 49"),
        ("AutoencoderKLLTXVideo", 8, "4k+1 frames, and 8 would be cut or padded silently; nearest: 5 or 9"),
        ("AutoencoderKLCosmos", 16, "8k+1 frames, and 16 would be cut or padded silently; nearest: 9 or 17"),
        ("AutoencoderKLMochi", 12, "6k+1 frames, and 12 would be cut or padded silently; nearest: 7 or 13"),
        ("AutoencoderKLMagvit", 16, "2k+1 frames, and 16 would be cut or padded silently; nearest: 15 or 17"),
        ("AutoencoderVidTok", 16, "4k+1 frames, and 16 would be cut or padded silently; nearest: 13 or 17"),
    ],
)
def test_frames_that_a_class_would_cut_are_refused(
    save: Save, make_signal: MakeSignal, name: str, frames: int, rule: str
) -> None:
    _, folder = save(name)
    with pytest.raises(UserError) as error:
        load(folder, make_signal("video", (frames, 32, 32)))
    assert f"clips have {rule}" in str(error.value)


@pytest.mark.slow
@torch.no_grad()
def test_mochi_s_clips_keep_their_length(save: Save, make_signal: MakeSignal) -> None:
    """Its decoder gives six frames per latent frame and drops the first five: 7 in, 2 latent frames, 7 out."""
    signal = make_signal("video", (7, 16, 16))
    model, folder = save("AutoencoderKLMochi")
    tokenizer, x = load(folder, signal), real(signal, 1)
    latents = tokenizer.encode(x)
    assert tokenizer.spec.grid.shape == (2, 2, 2)
    torch.testing.assert_close(latents.values, (model.encode(x).latent_dist.mode() - 0.5) / 2)
    assert tokenizer.decode(latents).shape == x.shape


@pytest.mark.slow
@torch.no_grad()
def test_a_causal_vidtok_drops_its_own_padding_and_no_frame(save: Save, make_signal: MakeSignal) -> None:
    """Not causal it takes whole pieces only, of which a rest would be dropped; `decode` gives a bare tensor."""
    signal = make_signal("video", (5, 16, 16))
    model, folder = save("AutoencoderVidTok")
    x = real(signal, 1)
    tokenizer = load(folder, signal)
    decoded = tokenizer.decode(tokenizer.encode(x))
    assert decoded.shape == x.shape
    padded = torch.cat([x[:, :, :1].expand(-1, -1, 3, -1, -1), x], dim=2)
    torch.testing.assert_close(decoded, model.decode(model.encode(padded).latent_dist.mode()))
    _, folder = save("AutoencoderVidTok", is_causal=False)
    with pytest.raises(UserError, match=r"clips have 16k frames, and 20 would be cut .*; nearest: 16 or 32"):
        load(folder, make_signal("video", (20, 16, 16)))


@pytest.mark.slow
@torch.no_grad()
def test_ltx_is_normalised_by_its_buffers(save: Save, make_signal: MakeSignal) -> None:
    """The numbers are in the weights, not in config.json."""
    signal = make_signal("video", (9, 16, 16))
    model, folder = save("AutoencoderKLLTXVideo", scaling_factor=0.5)
    model.latents_mean.uniform_(-1, 1)
    model.latents_std.uniform_(0.5, 2)
    model.save_pretrained(folder)
    tokenizer, x = load(folder, signal), real(signal)
    dist = model.encode(x).latent_dist
    mean, std = (row.view(1, -1, 1, 1, 1) for row in (model.latents_mean, model.latents_std))
    latents = tokenizer.encode(x)
    torch.testing.assert_close(latents.values, (dist.mode() - mean) / std * 0.5)
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(dist.mode()).sample)


@torch.no_grad()
def test_ltx_s_decoder_is_told_its_timestep(save: Save, make_signal: MakeSignal) -> None:
    """Without one it fails; batches are not sliced, which would pair latents with the wrong timesteps."""
    signal = make_signal("video", (9, 16, 16))
    model, folder = save("AutoencoderKLLTXVideo", timestep_conditioning=True)
    z = model.encode(real(signal)).latent_dist.mode()
    with pytest.raises(TypeError):
        model.decode(z)
    tokenizer = load(folder, signal)
    decoded = tokenizer.decode(tokenizer.encode(real(signal)))
    torch.testing.assert_close(decoded, model.decode(z, torch.zeros(2)).sample)
    assert not torch.allclose(decoded, model.decode(z, torch.full((2,), 0.05)).sample, atol=1e-5)
    assert tokenizer.adapter.tiling() == []


@pytest.mark.slow
@torch.no_grad()
def test_the_noise_in_ltx_s_decoder_is_the_same_every_time(save: Save, make_signal: MakeSignal) -> None:
    signal = make_signal("video", (9, 16, 16))
    model, folder = save("AutoencoderKLLTXVideo", decoder_inject_noise=(True,) * 5)
    for name, weight in model.named_parameters():
        if "per_channel_scale" in name:
            weight.fill_(1.0)
    model.save_pretrained(folder)
    tokenizer, x = load(folder, signal), real(signal, 4)
    z = model.encode(x).latent_dist.mode()
    assert not torch.allclose(model.decode(z).sample, model.decode(z).sample)
    torch.manual_seed(3)
    drawn = torch.rand(())
    torch.manual_seed(3)
    findings, _ = check_contract(tokenizer, x)
    assert "two decodes, real" in [finding.check for finding in findings if finding.verdict == "passed"]
    assert torch.rand(()) == drawn  # the caller's generator goes on as if nothing had been drawn
    assert tokenizer.declaration.stochastic


@pytest.mark.slow
@torch.no_grad()
def test_sigma_data_of_cosmos_s_scheduler_cancels_out(save: Save, make_signal: MakeSignal) -> None:
    """Its pipeline multiplies latents by it, and its scheduler divides by it before the network: priors see 1."""
    from diffusers import EDMEulerScheduler

    signal = make_signal("video", (9, 32, 32))
    model, folder = save("AutoencoderKLCosmos", latents_mean=[0.25] * 64, latents_std=[2.0] * 64)
    x, scheduler = real(signal, 1), EDMEulerScheduler(sigma_data=0.5)
    pipeline = (model.encode(x).latent_dist.mode() - 0.25) * scheduler.config.sigma_data / 2.0
    seen = scheduler.precondition_inputs(pipeline, 0.0)
    torch.testing.assert_close(load(folder, signal).encode(x).values, seen)


@pytest.mark.slow
@torch.no_grad()
def test_cogvideox_scales_latents_whatever_its_image_conditions_do(save: Save, make_signal: MakeSignal) -> None:
    """`invert_scale_latents` is of the pictures that a clip begins with."""
    signal = make_signal("video", (9, 16, 16))
    model, folder = save("AutoencoderKLCogVideoX", invert_scale_latents=True)
    dist = model.encode(real(signal, 1)).latent_dist
    torch.testing.assert_close(load(folder, signal).encode(real(signal, 1)).values, dist.mode() * 1.15258426)


@pytest.mark.slow
@torch.no_grad()
def test_the_consistency_decoder_scales_by_itself(save: Save, make_signal: MakeSignal) -> None:
    """Its `decode` multiplies by scaling_factor, so it gets what `encode` gave; priors see the product."""
    signal = make_signal("image", (16, 16))
    model, folder = save("ConsistencyDecoderVAE", scaling_factor=0.25)
    tokenizer, x = load(folder, signal), real(signal, 1)
    latents, raw = tokenizer.encode(x), model.encode(x).latent_dist.mode()
    torch.testing.assert_close(latents.values, raw * 0.25)
    expected = model.decode(raw, generator=torch.Generator().manual_seed(0)).sample
    torch.testing.assert_close(tokenizer.decode(latents), expected)


@pytest.mark.slow
@torch.no_grad()
def test_rae_s_pictures_have_the_size_of_its_decoder(save: Save, make_signal: MakeSignal) -> None:
    """The encoder resizes what it gets (224), and the decoder gives another size (256): that one is asked for."""
    model, folder = save("AutoencoderRAE", encoder_input_size=16, patch_size=8)
    assert (model.encoder_input_size, model.decoder_image_size) == (16, 32)
    signal = make_signal("image", (32, 32))
    tokenizer, x = load(folder, signal), real(signal)
    latents = tokenizer.encode(x)
    torch.testing.assert_close(latents.values, model.encode((x + 1) / 2).latent)
    decoded = tokenizer.decode(latents)
    torch.testing.assert_close(decoded, model.decode(latents.values).sample * 2 - 1)
    assert decoded.shape == x.shape
    with pytest.raises(UserError, match=r"height 16 is no multiple of 32"):
        load(folder, make_signal("image", (16, 16)))
    with pytest.raises(UserError, match=r"decodes to \(3, 32, 32\), expected \(3, 64, 64\)"):
        load(folder, make_signal("image", (64, 64)))


@torch.no_grad()
def test_rae_normalises_inside_and_draws_no_noise(save: Save, make_signal: MakeSignal) -> None:
    """Its noise is for training; applied again from outside, its mean and deviation would count twice."""
    signal = make_signal("image", (16, 16))
    facts = {"latents_mean": [[[0.5]]] * 64, "latents_std": [[[2.0]]] * 64, "noise_tau": 0.8}
    bare, _ = save("AutoencoderRAE")
    model, folder = save("AutoencoderRAE", **facts)
    tokenizer, x = load(folder, signal), real(signal)
    tokenizer.train()
    values = tokenizer.encode(x).values
    torch.testing.assert_close(values, model.encode((x + 1) / 2).latent)
    torch.testing.assert_close(values, (bare.encode((x + 1) / 2).latent - 0.5) / 2, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_kl_of_oobleck_is_exact(save: Save, make_signal: MakeSignal) -> None:
    """Its own `kl()` lacks the half, and is a mean over time: its rate would be wrong."""
    signal = make_signal("waveform", (80,))
    model, folder = save("AutoencoderOobleck")
    dist, latents = model.encode(real(signal)).latent_dist, load(folder, signal).encode(real(signal))
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(dist.mean, dist.std), normal(0.0, 1.0)).flatten(1).sum(1)
    bits = kl_bits_by_channel(latents.values, latents.scale).sum(1)
    torch.testing.assert_close(bits.float(), exact / math.log(2))
    torch.testing.assert_close(dist.kl() / 2 * 10, exact.mean())


@pytest.mark.slow
@torch.no_grad()
def test_a_sound_of_oobleck_keeps_its_length(save: Save, make_signal: MakeSignal) -> None:
    """It gives multiples of its hop."""
    signal = make_signal("waveform", (83,))
    model, folder = save("AutoencoderOobleck")
    tokenizer, x = load(folder, signal), real(signal)
    whole = model.decode(model.encode(torch.nn.functional.pad(x, (0, 5))).latent_dist.mode()).sample
    assert (whole.shape[-1], tokenizer.spec.grid.shape) == (88, (11,))
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(x)), whole[..., :83])


@pytest.mark.slow
@torch.no_grad()
def test_frames_of_svd_do_not_mix_between_clips(save: Save, make_signal: MakeSignal) -> None:
    """Its frames are flattened into the batch: its decoder has to be told how many a clip has."""
    signal = make_signal("video", (3, 16, 16))
    model, folder = save("AutoencoderKLTemporalDecoder")
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "mix_factor" in name or "time_conv_out" in name:
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer, x = load(folder, signal), real(signal, 2)
    together = tokenizer.decode(tokenizer.encode(x))
    alone = torch.cat([tokenizer.decode(tokenizer.encode(row)) for row in x.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    frames = model.encode(x.transpose(1, 2).flatten(0, 1)).latent_dist.mode()
    wrong = model.decode(frames, num_frames=6).sample.unflatten(0, (2, 3)).transpose(1, 2)
    assert float((wrong - together).abs().max()) > 1e-3


@torch.no_grad()
def test_half_precision_that_overflows_is_marked_and_not_used(save: Save, make_signal: MakeSignal) -> None:
    """As SDXL's, whose configuration says `force_upcast`: here float32 is the default, and half is tried."""
    signal = make_signal("image", (16, 16))
    model, folder = save("AutoencoderKL", force_upcast=True)
    model.decoder.conv_in.weight.mul_(3e4 / model.decoder.conv_in.weight.abs().max())
    model.half().save_pretrained(folder)
    tokenizer, x = load(folder, signal), real(signal, 4)
    assert bool(torch.isfinite(tokenizer.decode(tokenizer.encode(x))).all())
    findings, _ = check_contract(tokenizer, x, native=lambda: load(folder, signal, dtype="native"))
    assert "in float16, its native type, it gives NaN or infinity" in failures(findings, "marked")
    findings, _ = check_contract(load(folder, signal, dtype="native"), x)
    assert "real signals give NaN or infinity" in failures(findings, "error")


@pytest.mark.slow
@torch.no_grad()
def test_tiling_that_is_on_is_an_error(save: Save, make_signal: MakeSignal) -> None:
    """Blended seams change numbers; what works in tiles only is marked."""
    signal = make_signal("image", (16, 16))
    tokenizer = load(save("AutoencoderKL")[1], signal)
    model: Any = tokenizer.adapter.modules()[0]
    assert failures(check_contract(tokenizer, real(signal))[0], "error") == []
    model.enable_tiling()
    errors = failures(check_contract(tokenizer, real(signal))[0], "error")
    assert errors == ["is on, and changes numbers: use_tiling"]
    clip = make_signal("video", (24, 16, 16))
    tiled = load(save("AutoencoderKLAllegro")[1], clip)
    marks = failures(check_contract(tiled, real(clip))[0], "marked")
    assert any("AutoencoderKLAllegro works in tiles only" in mark for mark in marks)


@pytest.mark.slow
@torch.no_grad()
def test_taesd_s_latents_are_bounded_by_its_decoder(save: Save, make_signal: MakeSignal) -> None:
    """`decode` clamps by 3 tanh(z / 3) itself: applied once."""
    signal = make_signal("image", (16, 16))
    model, folder = save("AutoencoderTiny")
    tokenizer, x = load(folder, signal), real(signal)
    latents = tokenizer.encode(x)
    assert latents.values is not None
    bounded = 3 * torch.tanh(latents.values / 3)
    torch.testing.assert_close(tokenizer.decode(latents), model.decoder.layers(bounded) * 2 - 1)


@pytest.mark.slow
def test_a_state_between_calls_changes_nothing(save: Save, make_signal: MakeSignal) -> None:
    """Wan keeps a cache of features in the module: another clip in between leaves the next as it was."""
    signal = make_signal("video", (9, 16, 16))
    tokenizer, x = load(save("AutoencoderKLWan")[1], signal), real(signal, 2)
    with torch.no_grad():
        first = tokenizer.encode(x[:1]).values
        tokenizer.decode(tokenizer.encode(x[1:]))
        again = tokenizer.encode(x[:1]).values
    assert torch.equal(first, again)  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_class_has_its_switches_off(save: Save, tiny_diffusers: Mapping[str, Any]) -> None:
    """Slicing, tiling and frame-wise coding, whatever a class's default (HunyuanVideo's is on)."""
    for name in tiny_diffusers:
        config = DiffusersConfig(path=str(save(name)[1])).located("eval")
        tokenizer = AdapterTokenizer(config, None)
        expected = ["use_tiling"] if name == "AutoencoderKLAllegro" else []
        assert tokenizer.adapter.tiling() == expected, name
        assert not any(module.training for module in tokenizer.modules()), name


@pytest.mark.slow
def test_weights_of_another_architecture_are_refused(save: Save, make_signal: MakeSignal) -> None:
    """The library warns, and goes on without them, or with random ones."""
    from safetensors.torch import load_file, save_file

    _, folder = save("AutoencoderTiny")
    file = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    save_file({**state, "encoder.layers.1.pool.weight": torch.zeros(4)}, file, {"format": "pt"})
    message = "has no place for encoder.layers.1.pool.weight: its weights are of another architecture"
    with pytest.raises(UserError, match=message):
        load(folder, make_signal("image", (16, 16)))
    del state["encoder.layers.0.bias"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"finds no weights for encoder.layers.0.bias, which would stay random"):
        load(folder, make_signal("image", (16, 16)))
