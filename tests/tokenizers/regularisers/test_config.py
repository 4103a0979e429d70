"""The recipes of curated latents in every modality, and what their options refuse."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.equivariance_config import EquivarianceConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

RECIPES = {
    "prior-in-the-loop": "prior",
    "aligned-vae": "alignment",
    "eq-vae": "equivariance",
    "semantic-vq": "self_supervised",
}
SQUARE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_each_trains_in_every_modality(recipe: str, signal: SignalSpec, sample: Callable[..., Tensor]) -> None:
    tokenizer, x = build(resolve(recipe, signal, {"width": 8})), sample(signal, 4)
    tokenizer.on_train_start([x])
    losses = tokenizer.losses(x, group="model", step=0, steps=4)
    assert losses[RECIPES[recipe]].item() > 0
    losses["loss"].backward()
    for name, parameter in tokenizer.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name
    tokenizer.drop_training_modules()
    assert not any(name.startswith("auxiliary_objectives") for name in tokenizer.state_dict())
    assert tokenizer.eval().decode(tokenizer.encode(x)).shape == x.shape


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_tokenizer_starts_as_without_it(recipe: str, sample: Callable[..., Tensor]) -> None:
    kind = next(iter(resolve(recipe, SQUARE, {}).regularisers)).kind
    weights = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        tokenizer = build(resolve(recipe, SQUARE, {"width": 8, "regularisers": {kind: {"weight": weight}}}))
        tokenizer.drop_training_modules()
        weights.append(tokenizer.state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_options_are_part_of_the_configuration() -> None:
    config = resolve(
        "eq-vae", SQUARE, {"regularisers": {"equivariance": {"transforms": ["flip"], "probability": 0.25}}}
    )
    data = config.to_json()
    assert TokenizerConfig.from_json(json.loads(json.dumps(data))) == config
    assert config.versions()["regulariser.equivariance"] == 1


@pytest.mark.parametrize(
    ("signal", "options", "expected"),
    [
        (SQUARE, {}, ("rotate", "flip", "scale")),
        (SQUARE, {"downsample": 16}, ("rotate", "flip")),
        (SQUARE, {"bottleneck": {"kind": "vq"}, "channels": 8}, ("rotate", "flip")),
        (SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0), {}, ("shift",)),
    ],
)
def test_transforms_suit_modality_and_geometry(
    signal: SignalSpec, options: dict[str, object], expected: tuple[str, ...]
) -> None:
    assert EquivarianceConfig().chosen(resolve("kl-vae", signal, options)) == expected


@pytest.mark.parametrize(
    ("recipe", "kind", "options", "more", "message"),
    [
        ("kl-vae", "prior_in_the_loop", {"width": 20}, {}, "width must be a multiple of 16"),
        ("kl-vae", "prior_in_the_loop", {"resolution": 0.0}, {}, r"resolution must lie in \(0, 1\]"),
        ("kl-vae", "alignment", {"margin": 1.0}, {}, r"margin must lie in \[0, 1\)"),
        ("kl-vae", "alignment", {"target": "dino"}, {}, "target: input should be 'handmade' or 'alexnet'"),
        ("vq-vae-2", "alignment", {}, {}, "one grid of latents, and 'vq_vae_2' has 2"),
        ("kl-vae", "equivariance", {"transforms": ["reverse"]}, {}, "'reverse' does not suit image; known: rotate"),
        (
            "kl-vae",
            "equivariance",
            {"transforms": ["scale"]},
            {"downsample": 16},
            "'scale' halves the latents, and 1x1",
        ),
        (
            "vq-vae",
            "equivariance",
            {"transforms": ["scale"]},
            {},
            "'scale' averages latents, and the mean of two codes",
        ),
        ("kl-vae", "equivariance", {"match": "latent"}, {}, "collapses the latents unless guard is above 0"),
        ("vq-vae", "equivariance", {"match": "latent", "guard": 1.0}, {}, "needs continuous latents"),
        ("vq-vae-2", "equivariance", {}, {}, "the grids of a hierarchy have no transform in common"),
        ("kl-vae", "self_supervised", {}, {}, "backbone.shortcut must be false"),
        ("kl-vae", "self_supervised", {}, {"backbone": {"shortcut": False}}, "variances would never be learned"),
        ("semantic-vq", "self_supervised", {"share": 1.0}, {}, "share must lie between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    recipe: str, kind: str, options: dict[str, object], more: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=f"t.regularisers.{kind}: .*{message}"):
        resolve(recipe, SQUARE, {"regularisers": {kind: options}, **more}, where="t")


def test_alexnet_needs_pictures() -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0)
    with pytest.raises(UserError, match='target "alexnet" is for images and frames, not waveform'):
        resolve("aligned-vae", signal, {"regularisers": {"alignment": {"target": "alexnet"}}})
    config = resolve("aligned-vae", SQUARE, {"regularisers": {"alignment": {"target": "alexnet"}}})
    assert config.weights() == ("alexnet_lpips",)
    assert resolve("aligned-vae", SQUARE, {}).weights() == ()


@pytest.mark.parametrize("kind", ["prior_in_the_loop", "alignment"])
def test_a_sequence_of_tokens_is_curated_too(kind: str, sample: Callable[..., Tensor]) -> None:
    options = {"backbone": {"width": 16, "attention_heads": 2, "layers": 1}, "codebook_size": 16}
    tokenizer = build(resolve("titok", SQUARE, {**options, "regularisers": {kind: {}}}))
    x = sample(SQUARE, 4)
    tokenizer.on_train_start([x])
    losses = tokenizer.losses(x, group="model", step=0, steps=4)
    assert losses[{"prior_in_the_loop": "prior"}.get(kind, kind)].item() > 0
    losses["loss"].backward()


@pytest.mark.parametrize(
    ("recipe", "kind", "message"),
    [
        ("token-set", "prior_in_the_loop", "a causal prior needs an order, and a set has none"),
        ("titok", "equivariance", "a sequence of latents does not turn with the signal"),
    ],
)
def test_what_has_no_grid_or_order_is_refused(recipe: str, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(recipe, SQUARE, {"regularisers": {kind: {}}})


LATENT = {"match": "latent", "guard": 1.0}


@pytest.mark.parametrize(
    ("equivariance", "other", "message"),
    [
        ({}, "auxiliary_decoder", "brings the main decoder's gradient to the encoder, which auxiliary_decoder keeps"),
        (LATENT, "self_supervised", "moves the encoder, which self_supervised trains alone"),
        (LATENT, "auxiliary_decoder", ""),
        ({}, "self_supervised", ""),
    ],
)
def test_what_another_would_undo_is_refused(equivariance: dict[str, object], other: str, message: str) -> None:
    options = {"backbone": {"shortcut": False}, "regularisers": {"equivariance": equivariance, other: {}}}
    if message:
        with pytest.raises(UserError, match=f"t.regularisers.equivariance: .*{message}"):
            resolve("ae", SQUARE, options, where="t")
        options["regularisers"] = {"equivariance": equivariance, other: 0}  # what is off undoes nothing
    assert "equivariance" in {part.kind for part in resolve("ae", SQUARE, options, where="t").regularisers}


def test_a_transformer_has_one_size() -> None:
    assert EquivarianceConfig().chosen(resolve("vit-vae", SQUARE, {})) == ("rotate", "flip")
