"""Masking, and corruption as an optional part of any recipe."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.corruptions.mask import Mask
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec

Sample = Callable[..., Tensor]


def test_as_many_whole_patches_are_hidden_in_every_sample() -> None:
    x = 1 + torch.rand(5, 3, 8, 12)
    masked = Mask((4, 3), ratio=0.3)(x)
    hidden = masked == 0
    blocks = hidden.all(1).view(5, 2, 4, 4, 3).transpose(2, 3).flatten(3)
    assert torch.equal(blocks.any(-1), blocks.all(-1))
    assert blocks.all(-1).flatten(1).sum(1).tolist() == [2] * 5  # round(0.3 x 8)
    assert torch.equal(masked[~hidden], x[~hidden])
    assert len(hidden[:, 0].flatten(1).unique(dim=0)) > 1


def test_every_patch_is_as_likely() -> None:
    mask = Mask((2,), ratio=0.25).draw(torch.zeros(4000, 1, 8))
    assert (mask.view(4000, 4, 2)[..., 0] == 0).float().mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_patches_at_the_edge_may_be_cut() -> None:
    mask = Mask((3, 3), ratio=0.5).draw(torch.zeros(2, 3, 7, 7))
    assert mask.shape == (2, 1, 7, 7)


@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_one_patch_is_hidden_and_one_left(ratio: float) -> None:
    mask = Mask((4,), ratio=ratio).draw(torch.zeros(3, 1, 16)).view(3, 4, 4)[..., 0]
    assert (mask == 0).sum(1).tolist() == [1 if ratio < 0.5 else 3] * 3


@pytest.mark.parametrize("corruption", [{"kind": "mask", "ratio": 0.5}, {"kind": "noise", "sigma": 0.5}])
@pytest.mark.parametrize("recipe", ["ae", "vq-vae", "fsq"])
def test_any_recipe_trains_on_corrupted_input_against_the_clean_signal(
    recipe: str, corruption: dict[str, object], signal: SignalSpec, sample: Sample
) -> None:
    tokenizer = build(resolve(recipe, signal, {"width": 8, "corruption": corruption}))
    x = sample(signal)
    tokenizer.on_train_start([x])
    read: list[Tensor] = []
    compared: list[Tensor] = []
    objective = tokenizer.objective
    tokenizer.encoder.register_forward_pre_hook(lambda module, args: read.append(args[0]))  # type: ignore[operator,union-attr]
    tokenizer.objective = lambda decoded, target: compared.append(target) or objective(decoded, target)  # type: ignore[assignment,operator,func-returns-value]
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    assert not torch.equal(read[0], x)
    assert compared[0] is x
    tokenizer.eval()
    tokenizer.losses(x, group="model", step=0, steps=1)
    tokenizer.encode(x)
    assert read[1] is x
    assert read[2] is x


def test_a_configuration_without_it_says_nothing_of_it(image: SignalSpec) -> None:
    plain = resolve("ae", image, {})
    config = resolve("denoising-ae", image, {"corruption": {"patch": [4, 2]}, "latent_noise": 0.2})
    data = config.to_json()
    assert "corruption" not in plain.to_json()
    assert "latent_noise" not in plain.to_json()
    assert data["corruption"] == {"kind": "mask", "ratio": 0.3, "patch": [4, 2]}
    assert data["latent_noise"] == 0.2
    assert config.versions() == {**plain.versions(), "corruption.mask": 1}
    assert TokenizerConfig.from_json(json.loads(json.dumps(data))) == config
    assert TokenizerConfig.from_json(plain.to_json()) == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruption": {"kind": "masc"}}, "t.corruption.kind: unknown corruption 'masc'; did you mean 'mask'?"),
        ({"corruption": {"kind": "mask", "ratio": 1.0}}, "t.corruption: ratio must lie between 0 and 1"),
        (
            {"corruption": {"kind": "mask", "patch": [4]}},
            r"t.corruption: patch needs a size per axis \(height, width\)",
        ),
        ({"corruption": {"kind": "noise", "sigma": 0.0}}, "t.corruption: sigma must be positive"),
        ({"latent_noise": -1}, "t.latent_noise: expected a number >= 0, got -1"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str, image: SignalSpec) -> None:
    with pytest.raises(UserError, match=message):
        resolve("ae", image, options, where="t")


def test_a_codec_has_none(image: SignalSpec) -> None:
    with pytest.raises(UserError, match="corruption: a codec is a whole tokenizer, and has none"):
        resolve("jpeg", image, {"corruption": {"kind": "mask"}})
