"""The linear shortcut of learned tokens: PCA of the whole signal, dealt out to the tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.backbones.token_shortcut import TokenShortcut
from latentbench.tokenizers.backbones.vit_config import ViTConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


@pytest.fixture
def images() -> Tensor:
    """Smooth images: noise at a quarter of the resolution, scaled up."""
    small = torch.rand(200, 3, 5, 5) * 2 - 1
    return torch.nn.functional.interpolate(small, size=(16, 16), mode="bicubic").clamp(-1, 1)


def pca_error(images: Tensor, rank: int) -> float:
    rows = images.flatten(1).double()
    values = torch.linalg.svdvals(rows - rows.mean(0))
    return float(values[rank:].square().sum() / rows.numel())


@pytest.mark.parametrize("whiten", [True, False])
@torch.no_grad()
def test_it_starts_as_pca_of_the_signal(images: Tensor, whiten: bool) -> None:
    shortcut = TokenShortcut(ViTConfig(tokens=5), IMAGE, (4, 4), 3)
    assert shortcut.patch_down is None
    shortcut.on_train_start(images.split(64), whiten=whiten)
    z = shortcut.encode(images)
    assert z.shape == (200, 3, 5)
    error = float((shortcut.decode(z) - images).double().square().mean())
    assert error == pytest.approx(pca_error(images, 15), rel=1e-4)
    variances = z.double().var(0, correction=0)
    if whiten:
        torch.testing.assert_close(variances, torch.ones(3, 5, dtype=torch.double), rtol=1e-3, atol=0)
    else:
        torch.testing.assert_close(variances.mean(0), torch.ones(5, dtype=torch.double), rtol=1e-3, atol=0)
        assert (variances.diff(dim=0) < 0).all()


@torch.no_grad()
def test_the_first_tokens_hold_the_most(images: Tensor) -> None:
    shortcut = TokenShortcut(ViTConfig(tokens=4), IMAGE, (4, 4), 2)
    shortcut.on_train_start([images], whiten=False)
    z, errors = shortcut.encode(images), []
    for length in range(5):
        prefix = z * (torch.arange(4) < length)
        errors.append(float((shortcut.decode(prefix) - images).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(float((images - images.mean(0)).square().mean()), rel=1e-4)


@torch.no_grad()
def test_large_signals_go_through_components_of_their_patches(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.tokenizers.backbones.vit_config.SHORTCUT_INPUTS", 96)
    shortcut = TokenShortcut(ViTConfig(tokens=8), IMAGE, (4, 4), 12)
    shortcut.on_train_start([images], whiten=False)
    error = float((shortcut.decode(shortcut.encode(images)) - images).square().mean())
    # all 96 numbers that are left of the patches are kept: what is lost is lost within the patches
    patches = images.unflatten(3, (4, 4)).unflatten(2, (4, 4)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2).flatten(1)
    values = torch.linalg.svdvals((patches - patches.mean(0)).double())
    assert error == pytest.approx(float(values[6:].square().sum() / patches.numel()), rel=1e-3)


def test_training_begins_at_the_best_linear_autoencoder(images: Tensor) -> None:
    config = resolve("titok", IMAGE, {"tokens": 6, "channels": 4, "bottleneck": {"kind": "identity"}, "width": 8})
    model = build(config)
    model.on_train_start([images])
    model.eval()
    with torch.no_grad():
        error = float((model.decode(model.encode(images)) - images).square().mean())
    assert error == pytest.approx(pca_error(images, 24), rel=1e-3)
