"""Adaptive length: prefixes that the error asks for, in every modality, and what the tokenizer must have."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.sequence_coding.prefix import Prefix
from latentbench.tokenizers.sequence_coding.tokenizer import SequenceCodedTokenizer
from latentbench.tokenizers.spec import SignalSpec

Sample = Callable[..., Tensor]
SMALL = {"width": 16, "backbone": {"tokens": 8, "layers": 1, "attention_heads": 2}, "codebook_size": 16}


def tokenizer_for(signal: SignalSpec, **options: object) -> SequenceCodedTokenizer:
    tokenizer = build(resolve("adaptive-length", signal, {**SMALL, "sequence_coding": options}))
    assert isinstance(tokenizer, SequenceCodedTokenizer)
    return tokenizer


def mixed(signal: SignalSpec, sample: Sample) -> Tensor:
    x = sample(signal, 12)
    x[::2] *= 0.02
    return x


@pytest.mark.parametrize("rule", ["threshold", "slope"])
def test_a_sample_keeps_the_prefix_that_its_error_asks_for(signal: SignalSpec, sample: Sample, rule: str) -> None:
    tokenizer, x = tokenizer_for(signal, rule=rule), mixed(signal, sample)
    assert tokenizer.spec.grid.shape == (8,)
    assert tokenizer.spec.grid.variable
    assert ARConfig().unsupported_reason(tokenizer.spec) is None
    tokenizer.on_train_start([x])
    tokenizer.losses(x, group="model", step=0, steps=2)["loss"].backward()
    tokenizer.eval()
    with torch.no_grad():
        # before it has learned, nothing that helps is left out
        assert tokenizer.encode(x).lengths is not None
        tokenizer.on_train_end([x[:5], x[5:]])
        latents, whole = tokenizer.encode(x), tokenizer.inner.encode(x)
        assert latents.codes is not None
        assert latents.lengths is not None
        assert latents.codes.shape == (12, 1, 8)
        assert latents.lengths.double().mean() <= 4.5
        assert len(latents.lengths.unique()) > 1
        level = tokenizer.sequence_coding.level.item()  # type: ignore[union-attr]
        assert whole.codes is not None
        of_length = []
        for n in range(1, 9):
            prefixes = Latents(codes=whole.codes, lengths=torch.full((12,), n))
            of_length.append((tokenizer.inner.decode(prefixes).clamp(-1, 1) - x).square().flatten(1).mean(1))
        for row, length in enumerate(latents.lengths.tolist()):
            assert torch.equal(latents.codes[row, :, :length], whole.codes[row, :, :length])
            assert not latents.codes[row, :, length:].any()
            errors = [error[row].item() for error in of_length]
            if rule == "threshold":
                assert length == 8 or errors[length - 1] <= level * (1 + 1e-4)
                assert min(errors[: length - 1], default=1.0) > level * (1 - 1e-4)
            else:
                costs = [error + level * n for n, error in enumerate(errors, start=1)]
                assert costs[length - 1] <= min(costs) * (1 + 1e-4)
        decoded = tokenizer.decode(latents)
        expected = tokenizer.inner.decode(Latents(codes=whole.codes, lengths=latents.lengths))
        torch.testing.assert_close(decoded, expected)
        other = build(tokenizer.config)
        other.load_state_dict(tokenizer.state_dict())
        assert torch.equal(other.eval().encode(x).lengths, latents.lengths)  # type: ignore[arg-type]
    assert tokenizer.undecodable == 0


def test_every_length_but_none_is_a_prefix(image: SignalSpec) -> None:
    tokenizer = tokenizer_for(image).eval()
    codes = torch.randint(16, (3, 1, 8))
    with torch.no_grad():
        decoded = tokenizer.decode(Latents(codes=codes, lengths=torch.tensor([0, 1, 5])))
        one = tokenizer.decode(Latents(codes=codes[:1], lengths=torch.tensor([1])))
        all_ = tokenizer.decode(Latents(codes=codes))
    assert tokenizer.undecodable == 1
    torch.testing.assert_close(decoded[:1], one)
    assert all_.shape == decoded.shape


def test_configuration(image: SignalSpec) -> None:
    config = resolve("adaptive-length", image, {"sequence_coding": {"choices": 3}})
    assert TokenizerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.versions()["sequence_coding.prefix"] == 1
    coding = build(config).sequence_coding
    assert isinstance(coding, Prefix)
    assert coding.lengths == (6, 11, 16)
    assert coding.budget == 11
    tokenizer = build(config)
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("titok", {}, "prefix needs a tokenizer that decodes prefixes: regularisers.nested_dropout"),
        ("adaptive-length", {"budget": 1.0}, "budget 1 must lie between 2 and 16 positions"),
        ("adaptive-length", {"budget": 17.0}, "budget 17 must lie between 2 and 16 positions"),
        ("adaptive-length", {"choices": 1}, "choices must be at least 2"),
    ],
)
def test_a_mistake_gets_one_line(image: SignalSpec, recipe: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(recipe, image, {"sequence_coding": {"kind": "prefix", **options}}, where="t")
    assert str(caught.value) == f"t.sequence_coding: {message}"
