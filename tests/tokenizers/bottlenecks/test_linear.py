"""PCA against scipy and scikit-learn's definition, and the trained linear autoencoder against PCA."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from latentbench.tokenizers.bottlenecks.linear import principal_components
from latentbench.tokenizers.build import build
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec


def rows(batches: list[Tensor]) -> np.ndarray:
    """All positions of feature batches `[B, D, *grid]` as float64 rows."""
    return torch.cat([batch.movedim(1, -1).reshape(-1, batch.shape[1]) for batch in batches]).double().numpy()


def test_streamed_components_are_those_of_a_singular_value_decomposition() -> None:
    mix = torch.randn(12, 12)
    batches = [torch.einsum("ij,bjhw->bihw", mix, torch.randn(b, 12, 3, 2)) + 1e3 for b in (5, 7, 1)]
    mean, components, variances = principal_components(batches, 5)
    x = rows(batches)
    _, singular, right = scipy.linalg.svd(x - x.mean(0), full_matrices=False)
    np.testing.assert_allclose(mean.numpy(), x.mean(0), rtol=1e-10)
    np.testing.assert_allclose(variances.numpy(), singular[:5] ** 2 / len(x), rtol=1e-9)
    np.testing.assert_allclose(np.abs((components.numpy() * right[:5]).sum(1)), 1.0, rtol=1e-9)
    assert (components.gather(1, components.abs().argmax(1, keepdim=True)) > 0).all()


def smooth_images(count: int) -> Tensor:
    """Random blobs: images with a steep spectrum, `[count, 1, 16, 16]`."""
    frequency = torch.fft.fftfreq(16).square()
    envelope = 1 / (0.02 + frequency[:, None] + frequency[None])
    return torch.fft.ifft2(torch.fft.fft2(torch.randn(count, 1, 16, 16)) * envelope).real / 20 + 0.3


IMAGE = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(16, 16))


def error(tokenizer: object, x: Tensor) -> float:
    """Mean squared error of the round trip."""
    with torch.no_grad():
        return (tokenizer.decode(tokenizer.encode(x)) - x).square().mean().item()  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 3, 16])
def test_the_pca_recipe_reaches_the_discarded_variance(channels: int) -> None:
    x = smooth_images(64)
    tokenizer = build(resolve("pca", IMAGE, {"channels": channels}))
    tokenizer.on_train_start([x[:40], x[40:]])
    patches = torch.nn.functional.pixel_unshuffle(x, 4)
    variances = np.linalg.eigvalsh(np.cov(rows([patches]).T, bias=True))[::-1]
    assert error(tokenizer, x) == pytest.approx(variances[channels:].sum() / 16, rel=1e-4, abs=1e-10)
    assert tokenizer.param_groups() == {"model": []}


@pytest.mark.slow
def test_the_trained_linear_autoencoder_reaches_pca_within_one_percent() -> None:
    x = smooth_images(256)
    options = {"channels": 3}
    closed = build(resolve("pca", IMAGE, options))
    closed.on_train_start([x])
    config = resolve("linear-ae", IMAGE, options)
    trained = build(config)
    training = config.training
    optimiser = AdamW(trained.parameters(), lr=training.lr, betas=training.betas, weight_decay=0.0)
    steps = training.steps
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        batch = x[torch.randint(len(x), (training.batch_size,))]
        loss = trained.losses(batch, group="model", step=step, steps=steps)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    best = error(closed, x)
    assert best * (1 - 1e-6) <= error(trained, x) <= best * 1.01
