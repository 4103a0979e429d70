"""Adaptive resolution: the coarse grid where it is good enough, in every modality, told by the length alone."""

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
from latentbench.tokenizers.regularisers.resolution_dropout import repeated
from latentbench.tokenizers.sequence_coding.resolution import Resolution
from latentbench.tokenizers.sequence_coding.tokenizer import SequenceCodedTokenizer
from latentbench.tokenizers.spec import Modality, SignalSpec

Sample = Callable[..., Tensor]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


def tokenizer_for(signal: SignalSpec, **options: object) -> SequenceCodedTokenizer:
    table = {"width": 8, "codebook_size": 16, "sequence_coding": options}
    tokenizer = build(resolve("adaptive-resolution", signal, table))
    assert isinstance(tokenizer, SequenceCodedTokenizer)
    return tokenizer


@pytest.mark.parametrize("rule", ["threshold", "slope"])
def test_a_sample_is_coarse_where_that_is_good_enough(signal: SignalSpec, sample: Sample, rule: str) -> None:
    tokenizer, x = tokenizer_for(signal, rule=rule), sample(signal, 12)
    coding = tokenizer.sequence_coding
    assert isinstance(coding, Resolution)
    few, many = coding.lengths
    assert tokenizer.spec.grid.shape == (many,)
    assert ARConfig().unsupported_reason(tokenizer.spec) is None
    means = x.flatten(2).mean(2).view(12, -1, *(1,) * (x.ndim - 2))
    x[::2] = means[::2] + 0.02 * x[::2]  # every other sample is nearly plain
    tokenizer.on_train_start([x])
    tokenizer.losses(x, group="model", step=0, steps=2)["loss"].backward()
    tokenizer.eval()
    with torch.no_grad():
        assert (tokenizer.encode(x).lengths == many).sum() >= 6
        tokenizer.on_train_end([x[:5], x[5:]])
        latents, whole = tokenizer.encode(x), tokenizer.inner.encode(x)
        assert latents.codes is not None
        assert latents.lengths is not None
        assert set(latents.lengths.tolist()) == {few, many}
        assert latents.lengths.double().mean() <= (few + many) / 2
        # those that gain most from the fine grid have it
        restored, malformed = coding.decode(latents.codes, latents.lengths)
        assert malformed == 0
        assert restored.codes is not None
        fine = latents.lengths == many
        assert whole.codes is not None
        assert torch.equal(restored.codes[fine], whole.codes[fine])
        blocks = restored.codes[~fine]
        slices = tuple(slice(None, None, factor) for factor in coding.factors)
        assert torch.equal(repeated(blocks[(slice(None), slice(None), *slices)], coding.factors), blocks)
        decoded = tokenizer.decode(latents)
        assert torch.equal(decoded, tokenizer.inner.decode(restored))
        errors = (decoded.clamp(-1, 1) - x).square().flatten(1).mean(1)
        if rule == "threshold":
            assert (errors[~fine] <= coding.level * (1 + 1e-4)).all()
        other = build(tokenizer.config)
        other.load_state_dict(tokenizer.state_dict())
        assert torch.equal(other.eval().encode(x).codes, latents.codes)  # type: ignore[arg-type]
    assert tokenizer.undecodable == 0


def test_any_sequence_decodes_and_is_counted() -> None:
    coding = tokenizer_for(IMAGE).sequence_coding
    codes = torch.arange(16).expand(5, 1, 16).clone()
    restored, malformed = coding.decode(codes, torch.tensor([0, 3, 4, 7, 16]))
    assert malformed == 3
    assert restored.codes is not None
    assert restored.codes[0].unique().tolist() == [0]
    coarse = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    assert torch.equal(restored.codes[2, 0], coarse)
    assert torch.equal(restored.codes[1, 0], coarse.clamp_max(2))
    assert restored.codes[3].flatten().tolist() == [0, 1, 2, 3, 4, 5] + [6] * 10
    assert restored.codes[4].flatten().tolist() == list(range(16))


def test_an_odd_axis_keeps_its_size() -> None:
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(3, 16, 8), rate=8.0)
    config = resolve("adaptive-resolution", signal, {"downsample": [1, 4, 4]})
    coding = build(config).sequence_coding
    assert isinstance(coding, Resolution)
    assert coding.lengths == (6, 24)
    assert coding.coarse == (3, 2, 1)
    assert TokenizerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_several_heads_stay_together() -> None:
    options = {"bottleneck": {"kind": "multi_head_vq", "heads": 2, "codebook_size": 16}, "channels": 16, "width": 8}
    tokenizer = build(resolve("adaptive-resolution", IMAGE, options)).eval()
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        latents = tokenizer.encode(x)
        assert latents.codes is not None
        assert latents.codes.shape == (3, 2, 16)
        fine = Latents(codes=latents.codes, lengths=torch.full((3,), 16))
        rows = latents.lengths == 16
        assert torch.equal(tokenizer.decode(latents)[rows], tokenizer.decode(fine)[rows])
        assert torch.equal(tokenizer.inner.encode(x).codes.flatten(2)[rows], latents.codes[rows])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("vq-vae", {"downsample": 16}, "sequence_coding: a grid of 1x1 has no axis of even size to halve"),
        ("titok", {}, "sequence_coding: only a grid has a resolution, and these latents are a sequence"),
        ("kl-vae", {}, "sequence_coding: resolution needs codes, and these latents are continuous"),
        ("vq-vae", {"sequence_coding": {"budget": 3}}, "sequence_coding: budget 3 must lie between 4 and 16 positions"),
    ],
)
def test_a_mistake_gets_one_line(recipe: str, options: dict[str, object], message: str) -> None:
    coding = {"kind": "resolution", **options.get("sequence_coding", {})}  # type: ignore[dict-item]
    with pytest.raises(UserError) as caught:
        resolve(recipe, IMAGE, {**options, "sequence_coding": coding}, where="t")
    assert str(caught.value) == f"t.{message}"
