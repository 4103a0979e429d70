"""RVQ against a naive implementation and vector-quantize-pytorch; depth, dropout, start."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.tokenizers.bottlenecks.rvq import RVQ
from latentbench.tokenizers.bottlenecks.rvq_config import RVQConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec

Specify = Callable[[int], LatentSpec]

DIM, SIZE, LEVELS = 6, 16, 4


@pytest.fixture
def quantiser(latent: Specify) -> Callable[..., RVQ]:
    """A function from options to the quantiser."""

    def make(**options: object) -> RVQ:
        config = RVQConfig(**{"codebook_size": SIZE, "levels": LEVELS, "dropout": 0.0} | options)  # type: ignore[arg-type]
        return RVQ(config, latent(DIM), features=DIM)

    return make


def features(batch: int = 4) -> Tensor:
    return torch.randn(batch, DIM, 3, 5)


def test_codes_values_and_gradients_are_those_of_a_naive_implementation(quantiser: Callable[..., RVQ]) -> None:
    rvq = quantiser()
    x, weight = features().requires_grad_(), features()
    quantised = rvq(x)
    (sum(quantised.losses.values()) + (quantised.values * weight).sum()).backward()
    y = x.detach().clone().requires_grad_()
    rows = y.movedim(1, -1).reshape(-1, DIM)
    books = [stage.codebook.detach()[0].clone().requires_grad_() for stage in rvq.stages]
    residual, total, loss, codes = rows, torch.zeros_like(rows), torch.zeros(()), []
    for book in books:
        codes.append((residual[:, None] - book[None]).square().sum(-1).argmin(1))
        entry = book[codes[-1]]
        loss = loss + F.mse_loss(entry, residual.detach()) + 0.25 * F.mse_loss(residual, entry.detach())
        residual, total = residual - entry.detach(), total + entry.detach()
    passed = (rows + (total - rows).detach()).view(4, 3, 5, DIM).movedim(-1, 1)
    (loss + (passed * weight).sum()).backward()
    torch.testing.assert_close(quantised.values, passed)
    torch.testing.assert_close(sum(quantised.losses.values()), loss)
    chosen = rvq.encode(x).codes
    assert chosen is not None
    assert torch.equal(chosen.movedim(1, 0).flatten(1), torch.stack(codes))
    torch.testing.assert_close(x.grad, y.grad)
    for stage, book in zip(rvq.stages, books, strict=True):
        torch.testing.assert_close(stage.codebook.grad[0], book.grad)  # type: ignore[index]


def test_the_gradient_passes_once_and_unchanged(quantiser: Callable[..., RVQ]) -> None:
    rvq, x, gradient = quantiser(), features().requires_grad_(), features()
    rvq(x).values.backward(gradient)
    assert torch.equal(x.grad, gradient)  # type: ignore[arg-type]
    assert all(stage.codebook.grad is None for stage in rvq.stages)


def test_codes_values_and_gradients_of_an_independent_library(quantiser: Callable[..., RVQ]) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    # Each of its stages passes the gradient on, unless it is subtracted with the residual: quant_grad_frac = 1. Its
    # commitment loss moves codes and features alike, as our two losses do at commitment 1.
    rvq = quantiser(commitment=1.0)
    x, gradient = features(), features()

    def rows(tensor: Tensor) -> Tensor:
        return tensor.movedim(1, -1).flatten(1, 2)

    for fraction in (0.0, 1.0):
        theirs = library.ResidualVQ(
            dim=DIM,
            codebook_size=SIZE,
            num_quantizers=LEVELS,
            learnable_codebook=True,
            ema_update=False,
            commitment_weight=1.0,
            rotation_trick=False,
            quant_grad_frac=fraction,
        )
        with torch.no_grad():
            for mine, other in zip(rvq.stages, theirs.layers, strict=True):
                other._codebook.embed.copy_(mine.codebook)
        mine_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()
        rvq.zero_grad()
        quantised, (values, codes, losses) = rvq(mine_x), theirs(rows(their_x))
        latents = rvq.encode(x)
        assert torch.equal(latents.codes.flatten(2).movedim(1, -1), codes)  # type: ignore[union-attr]
        torch.testing.assert_close(rows(latents.values), values)  # type: ignore[arg-type]
        torch.testing.assert_close(rows(quantised.values), values)
        if fraction:
            quantised.values.backward(gradient)
            values.backward(rows(gradient))
        else:
            torch.testing.assert_close(quantised.losses["commitment"], losses.sum())
            sum(quantised.losses.values()).backward()  # type: ignore[union-attr]
            losses.sum().backward()
            for mine, other in zip(rvq.stages, theirs.layers, strict=True):
                torch.testing.assert_close(mine.codebook.grad, other._codebook.embed.grad)
        torch.testing.assert_close(mine_x.grad, their_x.grad)


def test_every_prefix_of_the_codes_decodes_and_the_error_falls_with_depth(quantiser: Callable[..., RVQ]) -> None:
    rvq = quantiser(codebook_size=32)
    rvq.on_train_start(features(40) for _ in range(2))
    x = features(40)
    latents = rvq.encode(x)
    assert latents.codes is not None
    assert torch.equal(rvq.lookup(latents.codes), latents.values)  # type: ignore[arg-type]
    errors = [F.mse_loss(rvq.lookup(latents.codes[:, :depth]), x).item() for depth in range(1, LEVELS + 1)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0] < 0.5 * x.square().mean().item()
    for codes in (latents.codes[:, :0], latents.codes.repeat(1, 2, 1, 1)):
        with pytest.raises(ValueError, match="codes of 1 to 4 stages"):
            rvq.lookup(codes)


def test_training_values_are_the_encoded_ones(quantiser: Callable[..., RVQ]) -> None:
    rvq, x = quantiser(), features()
    torch.testing.assert_close(rvq(x).values, rvq.encode(x).values)


def test_dropout_draws_every_depth_in_training_alone(quantiser: Callable[..., RVQ]) -> None:
    rvq, x = quantiser(dropout=1.0), features()
    codes = rvq.encode(x).codes
    assert codes is not None
    prefixes = [rvq.lookup(codes[:, :depth]) for depth in range(1, LEVELS + 1)]
    depths = []
    for _ in range(40):
        values = rvq(x).values
        depths.append([torch.allclose(values, prefix, atol=1e-5) for prefix in prefixes].index(True) + 1)
    assert set(depths) == set(range(1, LEVELS + 1))
    rvq.eval()
    assert all(torch.allclose(rvq(x).values, prefixes[-1], atol=1e-5) for _ in range(5))


def test_stages_that_were_left_out_keep_their_codes(quantiser: Callable[..., RVQ]) -> None:
    rvq = quantiser(rule="ema", decay=0.5, reset_after=0.0)
    rvq._depth = lambda: 2  # type: ignore[method-assign]
    before = [stage.codebook.clone() for stage in rvq.stages]
    rvq(features())
    rvq.after_step(step=0, steps=1)
    same = [torch.equal(stage.codebook, old) for stage, old in zip(rvq.stages, before, strict=True)]  # type: ignore[arg-type]
    assert same == [False, False, True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"levels": 0}, "levels"), ({"dropout": 1.5}, "dropout"), ({"normalise": True}, "not lie on the unit sphere")],
)
def test_impossible_options(quantiser: Callable[..., RVQ], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantiser(**options)


def test_a_tokenizer_decodes_at_any_depth() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    config = resolve("rvq", signal, {"width": 8, "codebook_size": 16, "levels": 3})
    assert config.spec.grid.codebook_sizes == (16, 16, 16)
    assert config.spec.tsr == 768 / (16 * 3)
    assert resolve("rvq", signal, {"tsr": 8}).spec.grid.heads == 6
    assert resolve("fsq", signal, {"tsr": 48}).spec.grid.codebook_sizes == (240,)
    tokenizer, x = build(config).eval(), torch.rand(2, 3, 16, 16)
    codes = tokenizer.encode(x).codes
    assert codes is not None
    pictures = [tokenizer.decode(Latents(codes=codes[:, :depth])) for depth in (1, 2, 3)]
    assert [p.shape for p in pictures] == [x.shape] * 3
    assert torch.equal(pictures[-1], tokenizer.decode(tokenizer.encode(x)))
    assert not torch.equal(pictures[0], pictures[1])


def test_every_depth_is_an_operating_point() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    tokenizer = build(resolve("rvq", signal, {"width": 8, "codebook_size": 16, "levels": 3})).eval()
    x = torch.tanh(torch.randn(8, 3, 4, 4)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    tokenizer.on_train_start([x])
    latents, points = tokenizer.encode(x), tokenizer.operating_points()
    assert list(points) == ["depth_1", "depth_2", "depth_3"]
    assert latents.codes is not None
    for depth, decode in enumerate(points.values(), start=1):
        assert torch.equal(decode(latents), tokenizer.decode(Latents(codes=latents.codes[:, :depth])))
        part = tokenizer.read_at(f"depth_{depth}", latents)
        assert part is not None
        assert torch.equal(part.codes, latents.codes[:, :depth])
    assert part is latents
    assert tokenizer.read_at("prefix_1", latents) is None
    torch.testing.assert_close(points["depth_3"](latents), tokenizer.decode(latents))
    errors = [F.mse_loss(decode(latents), x).item() for decode in points.values()]
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(ValueError, match="these latents have none"):
        points["depth_1"](Latents(values=latents.values))
