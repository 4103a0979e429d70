"""Equivariance: the loss through the decoder, the latent match and its guard, the error as a measure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.curation_config import EquivarianceConfig
from latentbench.tokenizers.regularisers.equivariance import Equivariance, equivariance_error, spread_hinge
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
    made, wanted = tokenizer.decode_values(z.flip(-1)), picked.flip(-1)
    expected = 0.5 * (0.3 * (made - wanted).abs().mean() + (made - wanted).square().mean())
    torch.testing.assert_close(losses["equivariance"], expected)


def test_half_of_the_share_is_scaled(image: SignalSpec, sample: Callable[..., Tensor]) -> None:
    tokenizer = build(resolve("ae", image, only(probability=0.5)))
    shapes: list[tuple[int, ...]] = []
    tokenizer.decoder.register_forward_hook(lambda module, args, made: shapes.append(tuple(made.shape)))  # type: ignore[union-attr,operator]
    tokenizer.losses(sample(image, 8), group="model", step=0, steps=1)
    assert shapes == [(8, 3, 16, 24), (2, 3, 8, 12), (2, 3, 16, 24)]


@pytest.mark.parametrize("kind", ["rotate", "flip", "scale", "shift"])
def test_pixels_are_equivariant_and_their_error_is_none(kind: str) -> None:
    tokenizer = build(resolve("ae", SQUARE, {**PIXELS, "losses": {"l2": 1.0}}))
    for parameter in tokenizer.parameters():  # the projections become identities
        parameter.data.copy_(torch.eye(3).view(3, 3, 1, 1) if parameter.ndim == 4 else torch.zeros(3))
    errors = equivariance_error(tokenizer, torch.rand(4, 3, 16, 16), transforms=[kind])
    assert errors[kind].shape == (4,)
    # The signal of a shift by half a position is moved by whole pixels alone.
    assert errors[kind].max().item() < 1e-10


def test_the_error_follows_its_formula(sample: Callable[..., Tensor]) -> None:
    tokenizer, x = build(resolve("ae", SQUARE, {"width": 8})).eval(), sample(SQUARE, 5)
    tokenizer.on_train_start([x])
    with torch.no_grad():
        z, turned = (tokenizer.encode(y).values for y in (x, torch.rot90(x, 1, (-2, -1))))
    assert z is not None
    assert turned is not None
    mean, std = z.mean((0, 2, 3), keepdim=True), z.std((0, 2, 3), correction=0, keepdim=True)
    z, turned = (z - mean) / std, (turned - mean) / std
    for index, error in enumerate(equivariance_error(tokenizer, x)["rotate"].tolist()):
        # A quarter turn to the left: row i of the new grid is column 3 - i of the old one.
        moved = torch.stack([z[index, :, :, 3 - i] for i in range(4)], dim=1)
        expected = (moved - turned[index]).square().sum() / turned[index].square().sum()
        assert error == pytest.approx(expected.item(), rel=1e-4)


def test_unrelated_latents_have_an_error_of_two() -> None:
    class Noise(ComposedTokenizer):
        def encode(self, signal: Tensor):  # type: ignore[no-untyped-def]
            latents = super().encode(signal)
            return type(latents)(values=torch.randn_like(latents.values))  # type: ignore[arg-type]

    errors = equivariance_error(Noise(resolve("ae", SQUARE, {"width": 8})), torch.rand(200, 3, 16, 16))
    assert errors["flip"].mean().item() == pytest.approx(2, abs=0.15)


def test_a_grid_is_wanted() -> None:
    tokenizer = build(resolve("vq-vae-2", SQUARE, {"width": 8}))
    with pytest.raises(ValueError, match="needs a grid of latents, not a hierarchy"):
        equivariance_error(tokenizer, torch.rand(1, 3, 16, 16))


def test_the_hinge_counts_what_samples_share_as_nothing() -> None:
    z = 3 * torch.randn(64, 4, 2, 2)
    assert spread_hinge(z).item() == 0
    assert spread_hinge(0.5 * z / z.std()).item() == pytest.approx(0.5, abs=0.05)
    pattern = 3 * torch.randn(1, 4, 2, 2).expand(64, -1, -1, -1)
    assert spread_hinge(pattern).item() == pytest.approx(0.99, abs=0.001)


@pytest.mark.slow
def test_the_latent_match_collapses_the_latents_without_its_guard(discs: tuple[Tensor, Tensor]) -> None:
    options = {**only(match="latent", guard=1.0), "channels": 4, "backbone": {"shortcut": False}}
    spread = {}
    for guard in (0.0, 1.0):
        torch.manual_seed(0)
        config = resolve("ae", SQUARE, options)
        tokenizer = build(config)
        assert isinstance(tokenizer, ComposedTokenizer)
        # A suite can't ask for it: `validate` refuses a latent match without a guard.
        regulariser = EquivarianceConfig(weight=100.0, match="latent", guard=guard, probability=1.0)
        tokenizer.regularisers["equivariance"] = Equivariance(regulariser, config)
        optimiser = torch.optim.Adam(tokenizer.parameters(), lr=5e-3)
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
    error, psnr = {}, {}
    for recipe in ("kl-vae", "eq-vae"):
        # From random weights: a short training does not leave the PCA, which turns into another PCA.
        training = {"steps": 80, "batch_size": 16, "lr": 4e-3}
        tokenizer = fitted(recipe, {"backbone": {"shortcut": False}, "training": training})
        errors = equivariance_error(tokenizer, discs[1], transforms=("rotate", "flip", "scale"))
        error[recipe] = torch.stack(list(errors.values())).mean().item()
        psnr[recipe] = quality(tokenizer)
    assert error["eq-vae"] < 0.6 * error["kl-vae"]
    assert psnr["eq-vae"] > psnr["kl-vae"] - 2.0
