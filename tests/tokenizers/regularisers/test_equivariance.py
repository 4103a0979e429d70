"""Equivariance: the loss through the decoder, the latent match and its guard, and the error that the probe reports."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.probes.equivariance import equivariance_error
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.optimisers import Adam
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.equivariance import Equivariance
from latentbench.tokenizers.regularisers.equivariance_config import EquivarianceConfig
from latentbench.tokenizers.regularisers.transforms import Transform, draw, fixed, turn
from latentbench.tokenizers.spec import Modality, SignalSpec

Fitted = Callable[..., ComposedTokenizer]
SQUARE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
# White features are the hardest to keep in place.
PIXELS = {"backbone": {"kind": "patch"}, "bottleneck": {"kind": "identity"}, "downsample": 1, "channels": 3}


def only(**options: object) -> dict[str, object]:
    return {"width": 8, "regularisers": {"equivariance": options}}


def test_the_loss_is_the_objective_of_the_transformed(image: SignalSpec, sample: Callable[..., Tensor]) -> None:
    config = resolve("ae", image, {**only(weight=0.5, probability=0.5, transforms=["flip"]), "losses": {"l1": 0.3}})
    tokenizer = build(config)
    assert isinstance(tokenizer, ComposedTokenizer)
    x = sample(image, 4)
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    picked = x[:2]
    z = tokenizer.encode(picked).values
    assert z is not None
    difference = tokenizer.decode_values(z.flip(-1)) - picked.flip(-1)
    expected = 0.5 * (0.3 * difference.abs().mean() + difference.square().mean())
    torch.testing.assert_close(losses["equivariance"], expected)


def test_half_of_the_share_is_scaled(image: SignalSpec, sample: Callable[..., Tensor]) -> None:
    tokenizer = build(resolve("ae", image, only(probability=0.5)))
    shapes: list[tuple[int, ...]] = []
    tokenizer.decoder.register_forward_hook(lambda module, args, output: shapes.append(tuple(output.shape)))  # type: ignore[union-attr,operator]
    tokenizer.losses(sample(image, 8), group="model", step=0, steps=1)
    assert shapes == [(8, 3, 16, 24), (2, 3, 8, 12), (2, 3, 16, 24)]


def error(tokenizer: ComposedTokenizer, x: Tensor, transform: Transform, moments: tuple[Tensor, Tensor]) -> float:
    """The probe's error, with a transform of the regulariser."""
    values, expected = tokenizer.encode(x).values, tokenizer.encode(transform.signal(x)).values
    assert values is not None
    assert expected is not None
    return equivariance_error(transform.latent(values), expected, moments).mean().item()


@pytest.mark.parametrize("kind", ["rotate", "flip", "scale", "shift"])
def test_pixels_are_equivariant_and_their_error_is_zero(kind: str) -> None:
    tokenizer = build(resolve("ae", SQUARE, {**PIXELS, "losses": {"l2": 1.0}}))
    assert isinstance(tokenizer, ComposedTokenizer)
    for parameter in tokenizer.parameters():  # the projections become identities
        parameter.data.copy_(torch.eye(3).view(3, 3, 1, 1) if parameter.ndim == 4 else torch.zeros(3))
    transform = draw(kind, Modality.IMAGE, (16, 16), (16, 16), whole=False)
    assert error(tokenizer, torch.rand(4, 3, 16, 16), transform, (torch.zeros(3), torch.ones(3))) < 1e-10


@pytest.mark.slow
def test_the_latent_match_collapses_the_latents_without_its_guard(discs: tuple[Tensor, Tensor]) -> None:
    options = {**only(match="latent", guard=1.0), "channels": 4, "backbone": {"shortcut": False}}
    spread = {}
    for guard in (0.0, 1.0):
        torch.manual_seed(0)
        config = resolve("ae", SQUARE, options)
        tokenizer = build(config)
        assert isinstance(tokenizer, ComposedTokenizer)
        # A suite can't ask for it: `unsupported_reason` refuses a latent match without a guard.
        regulariser = EquivarianceConfig(weight=100.0, match="latent", guard=guard, probability=1.0)
        tokenizer.auxiliary_objectives["equivariance"] = Equivariance(regulariser, config)
        optimiser = Adam(tokenizer.parameters(), lr=5e-3, fused=True)
        for step in range(60):
            batch = discs[0][torch.randint(512, (16,))]
            optimiser.zero_grad()
            tokenizer.losses(batch, group="model", step=step, steps=60)["loss"].backward()
            optimiser.step()
        with torch.no_grad():
            values = tokenizer.encode(discs[1]).values
        assert values is not None
        spread[guard] = values.std(0).mean().item()
    assert spread[0.0] < 0.1
    assert spread[1.0] > 0.7


@pytest.mark.slow
def test_the_error_falls_at_little_cost(
    discs: tuple[Tensor, Tensor], fitted: Fitted, quality: Callable[..., float]
) -> None:
    errors, psnr = {}, {}
    for recipe in ("kl-vae", "eq-vae"):
        # From random weights: a short training does not leave the PCA, which turns into another PCA.
        training = {"steps": 80, "batch_size": 16, "lr": 4e-3}
        tokenizer = fitted(recipe, {"backbone": {"shortcut": False}, "training": training})
        with torch.no_grad():
            values = tokenizer.encode(discs[0]).values
            assert values is not None
            moments = values.mean((0, 2, 3)), values.std((0, 2, 3))
            transforms = (turn(1), fixed("flip", Modality.IMAGE), fixed("scale", Modality.IMAGE))
            errors[recipe] = sum(error(tokenizer, discs[1], transform, moments) for transform in transforms) / 3
        psnr[recipe] = quality(tokenizer)
    assert errors["eq-vae"] < 0.6 * errors["kl-vae"]
    assert psnr["eq-vae"] > psnr["kl-vae"] - 2.0


@pytest.mark.parametrize(
    ("signal", "options", "expected"),
    [
        (SQUARE, {}, ("rotate", "flip", "scale")),
        (SQUARE, {"downsample": 16}, ("rotate", "flip")),
        (SQUARE, {"bottleneck": {"kind": "vq"}, "channels": 8}, ("rotate", "flip")),
        (SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0), {}, ("shift",)),
    ],
)
def test_transforms_suit_modality_and_geometry(
    signal: SignalSpec, options: dict[str, object], expected: tuple[str, ...]
) -> None:
    assert EquivarianceConfig().chosen(resolve("kl-vae", signal, options)) == expected


def test_a_transformer_has_one_size() -> None:
    assert EquivarianceConfig().chosen(resolve("vit-vae", SQUARE, {})) == ("rotate", "flip")


LATENT = {"match": "latent", "guard": 1.0}


@pytest.mark.parametrize(
    ("equivariance", "other", "message"),
    [
        ({}, "auxiliary_decoder", "brings the main decoder's gradient to the encoder, which auxiliary_decoder keeps"),
        (LATENT, "self_supervised", "moves the encoder, which self_supervised trains alone"),
        (LATENT, "auxiliary_decoder", ""),
        ({}, "self_supervised", ""),
    ],
)
def test_what_another_would_undo_is_refused(equivariance: dict[str, object], other: str, message: str) -> None:
    options = {
        "backbone": {"shortcut": False},
        "regularisers": {"equivariance": equivariance},
        "auxiliary": {other: {}},
    }
    if message:
        with pytest.raises(UserError, match=f"t.regularisers.equivariance: .*{message}"):
            resolve("ae", SQUARE, options, where="t")
        options["auxiliary"] = {other: 0}  # what is off undoes nothing
    assert "equivariance" in {part.kind for part in resolve("ae", SQUARE, options, where="t").regularisers}


@pytest.mark.parametrize("backbone", [{}, {"causal": True, "lstm": 1, "activation": "elu"}])
@pytest.mark.parametrize("options", [{}, {"match": "latent", "guard": 1.0}])
def test_a_sound_of_half_the_size_passes_the_codecs_backbone(
    backbone: dict[str, object], options: dict[str, object]
) -> None:
    """Convolutions, and an LSTM too, take any length; the spectra of the loss are fitted to the shorter sound."""
    sound, x = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=8000.0), torch.randn(4, 1, 1024)
    parts = {"backbone": {"width": 4, **backbone}, "losses": {"l1": 1.0, "mel_scales": 1.0}, "auxiliary": {}}
    regulariser = {"equivariance": {"transforms": ["scale"], **options}}
    tokenizer = build(resolve("stable-audio-vae", sound, {**parts, "regularisers": regulariser}))
    assert isinstance(tokenizer, ComposedTokenizer)
    loss = tokenizer.losses(x, group="model", step=0, steps=1)["equivariance"]
    assert loss.item() > 0
    halved = tokenizer.encode(fixed("scale", Modality.WAVEFORM).signal(x)).values
    assert halved is not None
    assert halved.shape[-1] == tokenizer.spec.grid.shape[0] // 2
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
