"""VQ against the formula, a naive implementation, and vector-quantize-pytorch where it is installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.tokenizers.bottlenecks.vq import VQ
from latentbench.tokenizers.bottlenecks.vq_config import MultiHeadVQConfig, VQConfig
from latentbench.tokenizers.spec import LatentSpec

Specify = Callable[[int], LatentSpec]

DIM, SIZE = 6, 16


def features(batch: int = 4) -> Tensor:
    """Features on a 3 x 5 grid."""
    return torch.randn(batch, DIM, 3, 5)


def naive(x: Tensor, codebook: Tensor, commitment: float) -> tuple[Tensor, Tensor, Tensor]:
    """One-hot VQ as in the paper: straight-through values `[B, C, *grid]`, codes, loss."""
    rows = x.movedim(1, -1).reshape(-1, x.shape[1])
    distances = (rows[:, None] - codebook[None]).square().sum(-1)
    codes = distances.argmin(1)
    values = F.one_hot(codes, len(codebook)).to(rows) @ codebook
    loss = F.mse_loss(values, rows.detach()) + commitment * F.mse_loss(rows, values.detach())
    passed = rows + (values - rows).detach()
    return passed.view(*x.movedim(1, -1).shape).movedim(-1, 1), codes, loss


def test_codes_values_and_gradients_are_those_of_a_naive_implementation(latent: Specify) -> None:
    vq = VQ(VQConfig(codebook_size=SIZE), latent(DIM), features=DIM)
    x, weight = features().requires_grad_(), features()
    quantised = vq(x)
    (sum(quantised.losses.values()) + (quantised.values * weight).sum()).backward()
    x2 = x.detach().clone().requires_grad_()
    codebook = vq.codebook.detach()[0].clone().requires_grad_()
    values, codes, loss = naive(x2, codebook, 0.25)
    (loss + (values * weight).sum()).backward()
    torch.testing.assert_close(quantised.values, values)
    assert torch.equal(vq.encode(x).codes.flatten(), codes)  # type: ignore[union-attr]
    torch.testing.assert_close(sum(quantised.losses.values()), loss)
    torch.testing.assert_close(x.grad, x2.grad)
    torch.testing.assert_close(vq.codebook.grad[0], codebook.grad)  # type: ignore[index]


def test_gradients_are_exactly_the_straight_through_formula(latent: Specify) -> None:
    vq = VQ(VQConfig(codebook_size=SIZE, commitment=0.5), latent(DIM), features=DIM)
    x, gradient = features().requires_grad_(), features()
    quantised = vq(x)
    quantised.values.backward(gradient, retain_graph=True)
    assert torch.equal(x.grad, gradient)  # type: ignore[arg-type]
    assert vq.codebook.grad is None
    x.grad = None
    quantised.losses["commitment"].backward()
    torch.testing.assert_close(x.grad, 0.5 * 2 * (x - quantised.values).detach() / x.numel())
    quantised.losses["codebook"].backward()
    expected = torch.zeros(SIZE, DIM)
    codes = vq.encode(x).codes.flatten()  # type: ignore[union-attr]
    difference = (quantised.values - x).detach().movedim(1, -1).reshape(-1, DIM)
    expected.index_add_(0, codes, 2 * difference / x.numel())
    torch.testing.assert_close(vq.codebook.grad[0], expected)  # type: ignore[index]


@pytest.mark.parametrize("normalise", [False, True])
def test_codes_and_gradients_of_an_independent_library(latent: Specify, normalise: bool) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.VectorQuantize(
        dim=DIM,
        codebook_size=SIZE,
        use_cosine_sim=normalise,
        learnable_codebook=not normalise,
        ema_update=False,
        in_place_codebook_optimizer=None,
        commitment_weight=0.25,
        rotation_trick=False,
    )
    vq = VQ(VQConfig(codebook_size=SIZE, normalise=normalise), latent(DIM), features=DIM)
    codebook = F.normalize(torch.randn(1, SIZE, DIM), dim=-1)
    with torch.no_grad():
        vq.codebook.copy_(codebook)
        theirs._codebook.embed.copy_(codebook)
    theirs.eval()
    x, gradient = features().requires_grad_(), features()
    y = x.detach().clone().requires_grad_()
    quantised = vq(x)
    values, codes, _ = theirs(y.movedim(1, -1).flatten(1, 2))
    assert torch.equal(vq.encode(x).codes.flatten(), codes.flatten())  # type: ignore[union-attr]
    torch.testing.assert_close(quantised.values.movedim(1, -1).flatten(1, 2), values)
    if not normalise:
        theirs.train()
        quantised.values.backward(gradient)
        theirs(y.movedim(1, -1).flatten(1, 2))[0].backward(gradient.movedim(1, -1).flatten(1, 2))
        torch.testing.assert_close(x.grad, y.grad)
        # Its one loss moves codes and features by 0.25; of ours the commitment moves features, the other codes.
        x.grad = y.grad = None
        losses, loss = vq(x).losses, theirs(y.movedim(1, -1).flatten(1, 2))[2]
        torch.testing.assert_close(losses["commitment"], loss.squeeze())
        (losses["commitment"] + 0.25 * losses["codebook"]).backward()
        loss.sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
        torch.testing.assert_close(vq.codebook.grad, theirs._codebook.embed.grad)


def test_moving_averages_follow_the_closed_form(latent: Specify) -> None:
    decay = 0.8
    vq = VQ(VQConfig(codebook_size=4, rule="ema", decay=decay, reset_after=0.0), latent(DIM), features=DIM)
    counts, sums = vq.counts.clone(), vq.sums.clone()
    for step in range(3):
        x = features()
        codes = vq.encode(x).codes.flatten()  # type: ignore[union-attr]
        rows = x.movedim(1, -1).reshape(-1, DIM)
        assert "codebook" not in vq(x).losses
        vq.after_step(step=step, steps=3)
        one_hot = F.one_hot(codes, 4).float()
        counts = decay * counts + (1 - decay) * one_hot.sum(0)
        sums = decay * sums + (1 - decay) * one_hot.T @ rows
        torch.testing.assert_close(vq.codebook[0], sums[0] / counts[0].unsqueeze(-1))
    assert not vq.codebook.requires_grad


def test_a_dead_code_becomes_a_feature_of_the_batch(latent: Specify) -> None:
    vq = VQ(VQConfig(codebook_size=4, reset_after=10.0), latent(DIM), features=DIM)
    with torch.no_grad():
        vq.codebook[0, 0] = 1e3
    before = vq.codebook.detach().clone()
    rows = torch.empty(0)
    for step in range(2):
        x = features(2)
        rows = x.movedim(1, -1).reshape(-1, DIM)
        vq(x)
        vq.after_step(step=step, steps=100)
        if step == 0:
            assert torch.equal(vq.codebook, before)
    assert (rows == vq.codebook[0, 0]).all(1).any()
    assert torch.equal(vq.codebook[0, 1:], before[0, 1:])


def test_no_code_is_replaced_in_the_last_fifth(latent: Specify) -> None:
    vq = VQ(VQConfig(codebook_size=4, reset_after=0.001), latent(DIM), features=DIM)
    with torch.no_grad():
        vq.codebook[0, 0] = 1e3
    before = vq.codebook.detach().clone()
    vq(features())
    vq.after_step(step=80, steps=100)
    assert torch.equal(vq.codebook, before)


def test_prepare_starts_the_codebook_on_features(latent: Specify) -> None:
    vq = VQ(VQConfig(codebook_size=SIZE), latent(DIM), features=DIM)
    batches = [features() + 5 for _ in range(4)]
    vq.on_train_start(batches)
    assert (vq.codebook.mean() - 5).abs() < 0.3
    codes = torch.cat([vq.encode(x).codes.flatten() for x in batches])  # type: ignore[union-attr]
    assert len(codes.unique()) == SIZE


def test_normalised_values_lie_on_the_sphere(latent: Specify) -> None:
    vq = VQ(VQConfig(codebook_size=SIZE, normalise=True), latent(DIM), features=DIM)
    x = features()
    values = vq.encode(x).values
    assert values is not None
    torch.testing.assert_close(values.norm(dim=1), torch.ones(4, 3, 5))
    assert torch.equal(vq.encode(x).codes, vq.encode(100 * x).codes)  # type: ignore[arg-type]


@pytest.mark.parametrize("normalise", [False, True])
def test_heads_are_independent_quantisers_of_their_channels(latent: Specify, normalise: bool) -> None:
    product = VQ(MultiHeadVQConfig(codebook_size=SIZE, heads=3, normalise=normalise), latent(DIM), features=DIM)
    x = features()
    latents = product.encode(x)
    assert latents.codes is not None
    assert latents.values is not None
    for head in range(3):
        single = VQ(VQConfig(codebook_size=SIZE, normalise=normalise), latent(DIM // 3), features=DIM // 3)
        with torch.no_grad():
            single.codebook.copy_(product.codebook[head : head + 1])
        part = single.encode(x[:, 2 * head : 2 * head + 2])
        assert torch.equal(latents.codes[:, head : head + 1], part.codes)  # type: ignore[arg-type]
        assert torch.equal(latents.values[:, 2 * head : 2 * head + 2], part.values)  # type: ignore[arg-type]


def test_codes_give_the_values_they_came_with(latent: Specify) -> None:
    vq = VQ(MultiHeadVQConfig(codebook_size=SIZE, heads=2), latent(DIM), features=DIM)
    latents = vq.encode(features())
    assert torch.equal(vq.lookup(latents.codes), latents.values)  # type: ignore[arg-type]
    assert torch.equal(vq.encode(latents.values).codes, latents.codes)  # type: ignore[arg-type]
