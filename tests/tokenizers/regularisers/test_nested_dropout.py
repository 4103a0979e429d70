"""Nested dropout: random prefixes in training, any prefix decodes, the first tokens say the most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.nested_dropout import NestedDropout
from latentbench.tokenizers.regularisers.nested_dropout_config import NestedDropoutConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

Sample = Callable[..., Tensor]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def nested_dropout(tokens: int = 6, **options: Any) -> NestedDropout:
    parts = {"tokens": tokens, "bottleneck": {"kind": "identity"}, "channels": 2}
    return NestedDropout(NestedDropoutConfig(**options), resolve("titok", IMAGE, parts))


def lengths_of(values: Tensor) -> Tensor:
    """How many tokens are left of ones `[B, C, n]`, checked to be a prefix."""
    left = values[:, 0] != 0
    assert torch.equal(left, left.cummin(1).values)
    return left.sum(1)


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, {1: 1 / 6, 2: 1 / 6, 3: 1 / 6, 4: 1 / 6, 5: 1 / 6, 6: 1 / 6}),
        ({"lengths": "powers"}, {1: 0.25, 2: 0.25, 4: 0.25, 6: 0.25}),
        ({"weight": 0.4, "lengths": "powers"}, {1: 0.1, 2: 0.1, 4: 0.1, 6: 0.7}),
    ],
)
def test_lengths_follow_their_distribution(options: dict[str, Any], shares: dict[int, float]) -> None:
    lengths = lengths_of(nested_dropout(**options).values(torch.ones(6000, 2, 6)))
    for length in range(1, 7):
        assert (lengths == length).float().mean().item() == pytest.approx(shares.get(length, 0.0), abs=0.025)


def test_nothing_is_hidden_out_of_training() -> None:
    part, values = nested_dropout().eval(), torch.randn(4, 2, 6)
    assert torch.equal(part.values(values), values)


@pytest.mark.parametrize("mask", ["zeros", "learned"])
def test_what_is_hidden_is_the_mask_and_sends_no_gradient(mask: Any) -> None:
    part = nested_dropout(mask=mask)
    if part.mask is not None:
        with torch.no_grad():
            part.mask.copy_(torch.tensor([3.0, 4.0]))
    values = torch.randn(3, 2, 6, requires_grad=True)
    cut = part.truncate(values, torch.tensor([0, 2, 6]))
    expected = torch.zeros(2) if part.mask is None else part.mask
    for sample, length in zip(range(3), (0, 2, 6), strict=True):
        assert torch.equal(cut[sample, :, :length], values[sample, :, :length])
        assert torch.equal(cut[sample, :, length:], expected[:, None].expand(2, 6 - length))
    cut.sum().backward()
    assert values.grad is not None
    assert lengths_of(values.grad).tolist() == [0, 2, 6]


@pytest.mark.parametrize("mask", ["zeros", "learned"])
def test_any_prefix_decodes(mask: str, signal: SignalSpec, sample: Sample) -> None:
    options = {"width": 8, "tokens": 5, "regularisers": {"nested_dropout": {"mask": mask}}}
    config = resolve("nested-dropout", signal, options)
    tokenizer, x = build(config), sample(signal)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    tokenizer.drop_training_modules()
    tokenizer.eval()
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    with torch.no_grad():
        latents = tokenizer.encode(x)
        assert latents.values is not None
        assert latents.codes is not None
        whole, seen = tokenizer.decode(latents), []
        for length in range(6):
            lengths = torch.full((3,), length)
            decoded = tokenizer.decode(Latents(values=latents.values, lengths=lengths))
            assert decoded.isfinite().all()
            assert torch.equal(tokenizer.decode(Latents(codes=latents.codes, lengths=lengths)), decoded)
            behind = latents.codes.clone()
            behind[:, :, length:] = 0
            assert torch.equal(tokenizer.decode(Latents(codes=behind, lengths=lengths)), decoded), "unseen is unread"
            seen.append(decoded)
        assert torch.equal(seen[5], whole)
        assert not torch.equal(seen[4], whole)
        points = tokenizer.operating_points()
        assert list(points) == ["prefix_1", "prefix_2", "prefix_4"]
        for name, decode in points.items():
            length = int(name.removeprefix("prefix_"))
            assert torch.equal(decode(latents), seen[length])
            part = tokenizer.read_at(name, latents)
            assert part is not None
            assert torch.equal(part.codes, latents.codes[..., :length])
            assert torch.equal(part.values, latents.values[..., :length])
        mixed = tokenizer.decode(Latents(values=latents.values, lengths=torch.tensor([1, 3, 5])))
        torch.testing.assert_close(mixed, torch.stack([seen[n][i] for i, n in enumerate((1, 3, 5))]))


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("vq-vae", {}, "regularisers.nested_dropout: no prefix of a grid describes the whole signal"),
        ("vq-vae-2", {}, "regularisers.nested_dropout: no prefix of a hierarchy describes"),
        ("token-set", {}, "regularisers.nested_dropout: a set has no prefix"),
        ("titok", {"tokens": 1}, "regularisers.nested_dropout: one token has no shorter prefix"),
        ("titok", {"weight": 1.5}, "regularisers.nested_dropout: weight is the share"),
    ],
)
def test_what_has_no_prefix_is_refused(recipe: str, options: dict[str, Any], message: str, image: SignalSpec) -> None:
    weight = options.pop("weight", 1.0)
    with pytest.raises(UserError, match=message):
        resolve(recipe, image, {**options, "regularisers": {"nested_dropout": weight}})


@pytest.mark.slow
def test_distortion_falls_with_the_length_of_the_prefix(
    fitted: Callable[..., Any], discs: tuple[Tensor, Tensor]
) -> None:
    held_out = discs[1]
    options: dict[str, Any] = {"tokens": 8, "codebook_size": 64, "backbone": {"layers": 2}, "width": 32}
    options["training"] = {"steps": 60, "batch_size": 16}
    tokenizer = fitted("nested-dropout", options)
    with torch.no_grad():
        latents, errors = tokenizer.encode(held_out), []
        for length in range(9):
            decoded = tokenizer.decode(Latents(values=latents.values, lengths=torch.full((128,), length)))
            errors.append(float((decoded - held_out).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[8] < 0.5 * errors[1]


@pytest.mark.slow
def test_prefixes_are_learned(fitted: Callable[..., Any], discs: tuple[Tensor, Tensor]) -> None:
    """Without the linear start, which has an order of its own."""
    held_out, errors = discs[1], {}
    options: dict[str, Any] = {
        "tokens": 4,
        "width": 32,
        "backbone": {"layers": 2, "shortcut": False},
        "bottleneck": {"kind": "identity"},
        "channels": 8,
        "training": {"steps": 60, "batch_size": 16, "lr": 3e-3},
    }
    for weight in (0, 1):
        tokenizer = fitted("titok", {**options, "regularisers": {"nested_dropout": weight}})
        with torch.no_grad():
            values = tokenizer.encode(held_out).values.clone()
            values[:, :, 1:] = 0
            errors[weight] = float((tokenizer.decode(Latents(values=values)) - held_out).square().mean())
    assert errors[1] < 0.75 * errors[0]
