"""Spectrum matching: the divergence of known spectra, its exponent, and what is compared in decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.spectral import dct, low_pass, radii
from latentbench.tokenizers.regularisers.spectrum_matching import SpectrumMatching
from latentbench.tokenizers.regularisers.spectrum_matching_config import SpectrumMatchingConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def matching(**options: Any) -> SpectrumMatching:
    config = resolve("ae", IMAGE, {"downsample": 2, "channels": 2, "width": 8})
    return SpectrumMatching(SpectrumMatchingConfig(**options), config)


def coloured(shape: tuple[int, ...], exponent: float) -> Tensor:
    """Noise whose power falls as frequency to the power -`exponent`."""
    radius = radii(shape[2:])
    radius.flatten()[0] = radius.flatten()[1]
    return dct(torch.randn(shape) * radius ** (-exponent / 2), inverse=True)


def test_the_divergence_is_zero_for_the_same_spectrum_and_grows_with_the_slopes_difference() -> None:
    part, x = matching(bands=4), coloured((400, 3, 16, 16), 2.0)
    same, flatter, white = (part.divergence(x, coloured((400, 2, 8, 8), e)).item() for e in (2.0, 1.0, 0.0))
    assert same < 0.03 < 3 * same + 0.03 < flatter < white
    # The exponent flattens the signal's spectrum: its square root falls as f^-1.
    assert matching(bands=4, flatten=0.5).divergence(x, coloured((400, 2, 8, 8), 1.0)).item() < 0.02
    assert matching(bands=4, flatten=0.0).divergence(x, torch.randn(400, 2, 8, 8)).item() < 0.01


def test_scale_and_offset_of_a_channel_are_no_spectrum() -> None:
    part, x, z = matching(), torch.randn(8, 3, 16, 16), torch.randn(8, 2, 8, 8)
    scale = torch.tensor([100.0, 0.1]).view(1, 2, 1, 1)
    torch.testing.assert_close(part.divergence(x, scale * z + 7), part.divergence(x, z), rtol=1e-3, atol=1e-5)


def test_decoding_compares_what_has_passed_the_same_filter(
    sample: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"weight": 0.5, "decoding": 2.0}
    tokenizer, x = build(resolve("ae", IMAGE, {"width": 8, "regularisers": {"spectrum_matching": options}})), None
    assert isinstance(tokenizer, ComposedTokenizer)
    x = sample(IMAGE, 4)
    tokenizer.on_train_start([x])
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.tensor(1 / 3))  # the cutoff is 0.5
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    z = tokenizer.encode(x).values
    assert z is not None
    decoded = tokenizer.decode_values(low_pass(z[:2], 0.5))
    expected = 0.5 * 2.0 * (decoded - low_pass(x[:2], 0.5)).square().mean()
    torch.testing.assert_close(losses["spectrum_decoding"], expected.detach())
    assert losses["spectrum"].item() == pytest.approx(0.5 * losses["spectrum_kl"].item())


@pytest.mark.parametrize(
    ("recipe", "options", "more", "message"),
    [
        ("titok", {}, {}, "it needs a grid"),
        ("vq-vae-2", {}, {}, "one grid of latents, and 'vq_vae_2' has 2"),
        ("kl-vae", {}, {"downsample": 8}, "at least 3 positions along an axis"),
        ("vq-vae", {"decoding": 1.0}, {}, "a low pass of codes is no code"),
        ("diffusion-decoder", {"decoding": 1.0}, {}, "in training a diffusion decoder makes none"),
        ("auxiliary-decoder", {"decoding": 1.0}, {}, "which auxiliary_decoder keeps away"),
        ("kl-vae", {"flatten": 2.0}, {}, r"flatten must lie in \[0, 1\]"),
    ],
)
def test_what_has_no_spectrum_is_refused(
    recipe: str, options: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"regularisers.spectrum_matching: .*{message}"):
        resolve(recipe, IMAGE, {"regularisers": {"spectrum_matching": options}, **more})
