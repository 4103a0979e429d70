"""Alignment with frozen features: the two losses, the features' normalisation, and what a probe reads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.alignment import Alignment, structure_loss
from latentbench.tokenizers.regularisers.alignment_config import AlignmentConfig
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.targets import OrientedGradients, pooled


def aligned(signal: SignalSpec, x: Tensor, **options: object) -> tuple[ComposedTokenizer, Alignment]:
    tokenizer = build(resolve("ae", signal, {"width": 8, "channels": 4, "regularisers": {"alignment": options}}))
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start(x.split(2))
    regulariser = tokenizer.auxiliary_objectives["alignment"]
    assert isinstance(regulariser, Alignment)
    return tokenizer, regulariser


def test_features_are_normalised_over_the_training_split(signal: SignalSpec, sample: Callable[..., Tensor]) -> None:
    x = sample(signal, 6)
    _, regulariser = aligned(signal, x)
    f = ((regulariser.target_features(x) - regulariser.mean) / regulariser.deviation).flatten(0, -2)
    varying = f.std(0) > 0.1
    assert varying.float().mean().item() > 0.8
    torch.testing.assert_close(f[:, varying].mean(0), torch.zeros(int(varying.sum())), atol=1e-3, rtol=0)
    torch.testing.assert_close(f[:, varying].std(0, correction=0), torch.ones(int(varying.sum())), atol=1e-3, rtol=0)


def test_the_loss_is_one_less_the_cosine_beyond_the_margin(image: SignalSpec, sample: Callable[..., Tensor]) -> None:
    x = sample(image, 4)
    tokenizer, regulariser = aligned(image, x, weight=0.5, margin=0.9)
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    z = tokenizer.encode(x).values
    assert z is not None
    target = (
        pooled(OrientedGradients(video=False)(x), (4, 6)).movedim(1, -1) - regulariser.mean
    ) / regulariser.deviation
    projected = regulariser.project(z.movedim(1, -1))
    cosines = [
        (projected[i] @ target[i] / projected[i].norm() / target[i].norm()).item()
        for i in product(range(4), range(4), range(6))
    ]
    expected = 0.5 * sum(max(0.0, 0.1 - c) for c in cosines) / len(cosines)
    assert losses["alignment"].item() == pytest.approx(expected, rel=1e-4)


def test_structure_compares_cosines_between_positions() -> None:
    z, f = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 9)
    assert structure_loss(f, f, slack=0.0).item() == pytest.approx(0, abs=1e-6)
    assert structure_loss(f @ torch.linalg.qr(torch.randn(9, 9))[0], f, slack=0.0).item() == pytest.approx(0, abs=1e-5)
    total = 0.0
    for b, i, j in product(range(2), range(12), range(12)):
        rows, targets = z[b].flatten(0, 1), f[b].flatten(0, 1)
        gap = F.cosine_similarity(rows[i], rows[j], dim=0) - F.cosine_similarity(targets[i], targets[j], dim=0)
        total += max(0.0, abs(gap.item()) - 0.25)
    assert structure_loss(z, f, slack=0.25).item() == pytest.approx(total / 288, rel=1e-4)


def test_the_adaptive_weight_is_the_ratio_of_the_gradients_at_the_features(
    image: SignalSpec, sample: Callable[..., Tensor]
) -> None:
    """With weight w the alignment's gradient at the features is w times as long as the fidelity's."""
    x = sample(image, 4)
    tokenizer, regulariser = aligned(image, x, weight=0.3, adaptive=True, structure=1.0)
    lengths: list[Tensor] = []
    inner = regulariser.losses

    def listening(training_step):  # type: ignore[no-untyped-def]
        added = inner(training_step)
        for term in (added.losses["alignment"], training_step.fidelity):
            (gradient,) = torch.autograd.grad(term, training_step.features, retain_graph=True)
            lengths.append(gradient.norm())
        return added

    regulariser.losses = listening  # type: ignore[method-assign]
    tokenizer.losses(x, group="model", step=0, steps=1)
    assert (lengths[0] / lengths[1]).item() == pytest.approx(0.3, rel=1e-2)
    with torch.no_grad():  # where nothing has a gradient there is nothing to scale
        del regulariser.losses
        assert "alignment_factor" not in tokenizer.losses(x, group="model", step=0, steps=1)


def test_latents_without_places_are_compared_by_their_mean(image: SignalSpec) -> None:
    regulariser = Alignment(AlignmentConfig(hidden=8), resolve("titok", image, {"tokens": 7}))
    assert regulariser.places == (1, 1)
    assert regulariser.target_features(torch.rand(3, 3, 16, 24)).shape == (3, 1, 1, 30)


@pytest.mark.slow
def test_a_linear_probe_reads_more_of_the_features_from_aligned_latents(
    discs: tuple[Tensor, Tensor], fitted: Callable[..., ComposedTokenizer], quality: Callable[..., float]
) -> None:
    target = OrientedGradients(video=False)
    f, g = (pooled(target(x), (4, 4)).movedim(1, -1).flatten(0, -2) for x in discs)
    g, f = (g - f.mean(0)) / f.std(0), (f - f.mean(0)) / f.std(0)
    explained, psnr = {}, {}
    for recipe in ("kl-vae", "aligned-vae"):
        tokenizer = fitted(recipe)
        with torch.no_grad():
            train, test = (tokenizer.encode(x).values for x in discs)
        assert train is not None
        assert test is not None
        a, b = (F.pad(z.movedim(1, -1).flatten(0, -2), (1, 0), value=1.0) for z in (train, test))
        weights = torch.linalg.lstsq(a, f).solution
        explained[recipe] = 1 - ((g - b @ weights).square().sum() / (g - g.mean(0)).square().sum()).item()
        psnr[recipe] = quality(tokenizer)
    assert explained["aligned-vae"] > 1.4 * explained["kl-vae"]
    assert psnr["aligned-vae"] > psnr["kl-vae"] - 2.0


def test_alexnet_needs_pictures(image: SignalSpec) -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0)
    with pytest.raises(UserError, match='target "alexnet" is for images and frames, not waveform'):
        resolve("aligned-vae", signal, {"regularisers": {"alignment": {"target": "alexnet"}}})
    config = resolve("aligned-vae", image, {"regularisers": {"alignment": {"target": "alexnet"}}})
    assert config.weights() == ("alexnet_lpips",)
    assert resolve("aligned-vae", image, {}).weights() == ()
