from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.backbones.conv_config import ConvConfig
from latentbench.tokenizers.backbones.patch import space_to_depth
from latentbench.tokenizers.backbones.shortcut import LinearShortcut
from latentbench.tokenizers.build import build
from latentbench.tokenizers.optimisers import Adam
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


@pytest.fixture
def images() -> Tensor:
    """Smooth images: noise at a quarter of the resolution, scaled up."""
    small = torch.rand(64, 3, 5, 5) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(16, 16), mode="bicubic").clamp(-1, 1)


def pca_error(images: Tensor, rank: int) -> float:
    rows = space_to_depth(images, (4, 4)).movedim(1, -1).flatten(0, -2).double()
    values = torch.linalg.svdvals(rows - rows.mean(0))
    return float(values[rank:].square().sum() / rows.numel())


@pytest.mark.parametrize("whiten", [True, False])
@torch.no_grad()
def test_it_starts_as_pca(images: Tensor, whiten: bool) -> None:
    shortcut = LinearShortcut(ConvConfig(), IMAGE, (4, 4), 6)
    shortcut.on_train_start(images.split(10), whiten=whiten)
    z = shortcut.encode(images)
    error = float((shortcut.decode(z) - images).double().square().mean())
    assert error == pytest.approx(pca_error(images, 6), rel=1e-4)
    deviations = z.double().std(dim=(0, 2, 3), correction=0)
    if whiten:
        torch.testing.assert_close(deviations, torch.ones(6, dtype=torch.float64), rtol=1e-3, atol=0)
    else:  # distances between latents are those between patches, all by one factor
        rows = space_to_depth(images, (4, 4)).movedim(1, -1).flatten(0, -2).double()
        spectrum = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)[:6].sqrt()
        torch.testing.assert_close(deviations / deviations[0], spectrum / spectrum[0], rtol=1e-3, atol=0)


@torch.no_grad()
def test_more_latents_than_the_patch_has_elements(images: Tensor) -> None:
    shortcut = LinearShortcut(ConvConfig(), IMAGE, (1, 1), 5)
    shortcut.on_train_start([images], whiten=True)
    torch.testing.assert_close(shortcut.decode(shortcut.encode(images)), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("recipe", ["ae", "kl-vae"])
def test_training_begins_at_the_best_linear_autoencoder(recipe: str, images: Tensor) -> None:
    config = resolve(recipe, IMAGE, {"downsample": 4, "channels": 6, "width": 8})
    model = build(config)
    model.on_train_start([images])
    model.eval()
    with torch.no_grad():
        error = float((model.decode(model.encode(images)) - images).square().mean())
    assert error == pytest.approx(pca_error(images, 6), rel=1e-3)


def test_it_can_be_turned_off_and_then_costs_nothing() -> None:
    plain = resolve("ae", IMAGE, {"downsample": 4, "backbone": {"shortcut": False}})
    with_it = resolve("ae", IMAGE, {"downsample": 4})
    assert build(plain).shortcut is None  # type: ignore[attr-defined]
    patch, channels = 48, with_it.channels
    extra = 2 * patch * channels + patch + channels
    assert with_it.estimate_parameters() - plain.estimate_parameters() == extra
    for config in (plain, with_it):
        assert sum(p.numel() for p in build(config).parameters()) == config.estimate_parameters()


def test_gradients_reach_both_halves_after_a_step(images: Tensor) -> None:
    model = build(resolve("ae", IMAGE, {"downsample": 4, "width": 8}))
    model.on_train_start([images])
    optimiser = Adam(model.parameters(), lr=1e-3)
    for step in range(3):
        optimiser.zero_grad()
        model.losses(images, group="model", step=step, steps=3)["loss"].backward()
        optimiser.step()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
