"""Identity and DCT: exactness, scipy's transform as the second implementation, bounds, odd sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from latentbench.tokenizers.build import build
from latentbench.tokenizers.codecs.dct import DCT
from latentbench.tokenizers.codecs.dct_config import DCTConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

Sample = Callable[..., Tensor]


def odd(signal: SignalSpec) -> SignalSpec:
    """The same kind of signal with sides that no block divides."""
    return SignalSpec(modality=signal.modality, channels=2, shape=tuple(s - 1 - i for i, s in enumerate(signal.shape)))


def test_identity_is_the_signal(signal: SignalSpec, sample: Sample) -> None:
    tokenizer, x = build(resolve("identity", signal, {})), sample(signal)
    latents = tokenizer.encode(x)
    assert latents.values is not None
    assert torch.equal(latents.values, x)
    assert torch.equal(tokenizer.decode(latents), x)
    assert tokenizer.state_dict() == {}


def test_the_transform_is_scipys(signal: SignalSpec) -> None:
    block = tuple(min(size, b) for size, b in zip(signal.shape, (8, 8, 4), strict=False))
    codec = DCT(DCTConfig(block=block, step=0.1), signal)
    x = torch.randn(2, signal.channels, *signal.shape)
    ours = codec.transform(x)
    rank = len(block)
    shape = [side for size, b in zip(signal.shape, block, strict=True) for side in (size // b, b)]
    blocks = x.double().numpy().reshape(2, signal.channels, *shape)
    axes = tuple(range(3, 3 + 2 * rank, 2))
    theirs = dctn(blocks, axes=axes, norm="ortho")
    theirs = np.transpose(theirs, (0, 1, *axes, *range(2, 2 + 2 * rank, 2)))
    theirs = theirs.reshape(2, signal.channels, -1, *codec.blocks)
    assert np.abs(ours.numpy() - theirs).max() < 5e-6
    assert (codec.inverse(ours) - x).abs().max() < 5e-6


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fine_step_is_nearly_lossless(signal: SignalSpec, sample: Sample, batch: int) -> None:
    spec = odd(signal)
    tokenizer, x = build(resolve("dct", spec, {"codec": {"step": 1e-3, "slope": 0.0}})), sample(spec, batch)
    latents = tokenizer.encode(x)
    restored = tokenizer.decode(latents)
    assert restored.shape == x.shape
    # an orthonormal transform: the error of a uniform quantiser of step s has the variance s^2 / 12
    assert (restored - x).square().mean().item() == pytest.approx(1e-6 / 12, rel=0.15)
    assert latents.codes is not None
    grid = tokenizer.spec.grid
    assert latents.codes.shape == (batch, grid.heads, *grid.shape)
    assert torch.equal(tokenizer.decode(Latents(codes=latents.codes)), restored)


def test_codes_come_back_from_the_signal_they_make(signal: SignalSpec, sample: Sample) -> None:
    """Where the block divides the signal and nothing is clamped, the quantised coefficients are a fixed point."""
    block = tuple(min(size, b) for size, b in zip(signal.shape, (4, 8, 8), strict=False))
    tokenizer, x = build(resolve("dct", signal, {"codec": {"block": list(block), "step": 0.05}})), 0.3 * sample(signal)
    latents = tokenizer.encode(x)
    again = tokenizer.encode(tokenizer.decode(latents))
    assert latents.codes is not None
    assert again.codes is not None
    assert torch.equal(again.codes, latents.codes)


def test_codes_stay_in_bounds_at_the_extremes() -> None:
    """Signs of a basis function are the signal that reaches its bound; beyond [-1, 1] is clamped."""
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(8,), rate=8.0)
    codec = DCT(DCTConfig(block=(8,), step=0.3), signal)
    signs = torch.stack([basis.sign() for basis in codec._on(torch.device("cpu")).bases[0]]).unsqueeze(1)
    sizes = torch.tensor(DCTConfig(block=(8,), step=0.3).grids(signal)[0].codebook_sizes)
    for x in (signs, -signs, 5 * signs):
        codes = codec.encode(x).codes
        assert codes is not None
        assert codes.min() >= 0
        assert (codes.amax((0, 2)) < sizes).all()
    top = codec.encode(signs).codes
    assert top is not None
    assert torch.equal(top[:, :, 0].diagonal(), sizes - 1)


def test_fewer_coefficients_and_coarser_steps_cost_distortion(sample: Sample, image: SignalSpec) -> None:
    x = torch.nn.functional.interpolate(sample(image)[..., ::4, ::4], size=image.shape, mode="bilinear")

    def error(**codec: object) -> float:
        tokenizer = build(resolve("dct", image, {"codec": codec}))
        return (tokenizer.decode(tokenizer.encode(x)) - x).square().mean().item()

    assert error(step=0.05) < error(step=0.2) < error(step=0.8)
    assert error(keep=32) < error(keep=8) < error(keep=1)


def test_flops_as_arithmetic_are_those_counted(signal: SignalSpec, sample: Sample) -> None:
    config = resolve("dct", signal, {})
    tokenizer = build(config)
    with FlopCounterMode(display=False) as counter:
        tokenizer.decode(tokenizer.encode(sample(signal, 2)))
    assert config.estimate_flops() == counter.get_total_flops() / 2
