"""The recipes of regularisers and of self-supervised features in every modality, and what their options refuse."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

RECIPES = {
    "prior-in-the-loop": "prior",
    "aligned-vae": "alignment",
    "eq-vae": "equivariance",
    "af-vae": "equivariance",
    "se-vae": "equivariance",
    "va-vae": "alignment",
    "crt": "next_latent",
    "spectrum-matched-vae": "spectrum",
    "repa-e": "flow_alignment",
    "maetok": "masked",
    "larp": "prior",
    "semantic-vq": "self_supervised",
}
SQUARE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


# two modalities of each, in turn; the others are slow
@pytest.mark.parametrize(
    ("recipe", "signal"),
    [
        pytest.param(recipe, kind, marks=() if (i + j) % 2 == 0 else pytest.mark.slow, id=f"{kind}-{recipe}")
        for i, recipe in enumerate(RECIPES)
        for j, kind in enumerate(("image", "video", "waveform", "spectrogram"))
    ],
    indirect=["signal"],
)
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
    config = resolve(recipe, SQUARE, {})
    table, objective = ("auxiliary", *config.auxiliary) if config.auxiliary else ("regularisers", *config.regularisers)
    weights = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        tokenizer = build(resolve(recipe, SQUARE, {"width": 8, table: {objective.kind: {"weight": weight}}}))
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
    assert config.versions()["regulariser.equivariance"] == 2


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
        (
            "kl-vae",
            "alignment",
            {"adaptive": True},
            {"auxiliary": {"auxiliary_decoder": 1.0}},
            "auxiliary_decoder keeps",
        ),
        ("vq-vae", "equivariance", {"interpolation": "fourier", "transforms": ["shift"]}, {}, "codes shift by whole"),
        ("kl-vae", "equivariance", {"interpolation": "fourier"}, {}, 'transforms has no "shift"'),
        ("kl-vae", "equivariance", {"match": "latent"}, {}, "collapses the latents unless guard is above 0"),
        ("vq-vae", "equivariance", {"match": "latent", "guard": 1.0}, {}, "needs continuous latents"),
        ("vq-vae-2", "equivariance", {}, {}, "the grids of a hierarchy have no transform in common"),
    ],
)
def test_what_makes_no_sense_is_refused(
    recipe: str, kind: str, options: dict[str, object], more: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=f"t.regularisers.{kind}: .*{message}"):
        resolve(recipe, SQUARE, {"regularisers": {kind: options}, **more}, where="t")


_SHAPING: dict[str, dict[str, object]] = {
    "alignment": {},
    "next_latent": {},
    "end_to_end": {},
    "masked_modelling": {},
    "spectrum_matching": {},
    "equivariance": {"match": "latent", "guard": 1.0},
}


@pytest.mark.parametrize("kind", list(_SHAPING))
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 256)])
def test_latents_that_the_bottleneck_expands_are_regularised(kind: str, shape: tuple[int, ...]) -> None:
    """Of `linear-ae` the decoder reads as many numbers as a patch has; the latents are fewer."""
    modality, rate = (Modality.IMAGE, None) if len(shape) == 3 else (Modality.WAVEFORM, 8000.0)
    signal = SignalSpec(modality=modality, channels=shape[0], shape=shape[1:], rate=rate)
    tokenizer, x = build(resolve("linear-ae", signal, {"regularisers": {kind: _SHAPING[kind]}})), torch.randn(4, *shape)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    tokenizer.losses(x, group="model", step=0, steps=4)["loss"].backward()
    output = tokenizer.bottleneck(tokenizer.features(x))
    assert output.latents.shape == (4, tokenizer.config.channels, *tokenizer.spec.grid.shape)
    torch.testing.assert_close(output.latents, tokenizer.encode(x).values)
    assert output.values.shape[1] == tokenizer.config.features != tokenizer.config.channels


@pytest.mark.parametrize("recipe", ["rae", "pca"])
@pytest.mark.parametrize("kind", [*_SHAPING, "prior_in_the_loop"])
def test_what_would_train_nothing_is_refused(recipe: str, kind: str) -> None:
    with pytest.raises(UserError, match=f"{kind}: .*it trains the encoder, and nothing trains that of bottleneck '"):
        resolve(recipe, SQUARE, {"regularisers": {kind: _SHAPING.get(kind, {})}})


@pytest.mark.parametrize("kind", ["self_supervised", "auxiliary_decoder"])
def test_an_auxiliary_objective_of_a_frozen_encoder_is_refused(kind: str) -> None:
    with pytest.raises(UserError, match=f"{kind}: it trains the encoder, and nothing trains that of bottleneck 'stand"):
        resolve("rae", SQUARE, {"auxiliary": {kind: {}}})


def test_what_trains_the_decoder_of_frozen_features_stays() -> None:
    for kind, options in (("equivariance", {}), ("spectrum_matching", {"decoding": 1.0}), ("latent_denoising", {})):
        assert resolve("rae", SQUARE, {"regularisers": {kind: options}}).regularisers


def test_noise_that_the_decoder_would_not_read_is_refused() -> None:
    with pytest.raises(UserError, match="the decoder reads noisy latents, and bottleneck 'linear' gives it others"):
        resolve("linear-ae", SQUARE, {"regularisers": {"prior_in_the_loop": {}}})


@pytest.mark.parametrize("kind", ["prior_in_the_loop", "alignment"])
def test_a_sequence_of_tokens_is_regularised_too(kind: str, sample: Callable[..., Tensor]) -> None:
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
        ("token-set", "prior_in_the_loop", "a light causal prior needs an order, and a set has none"),
        ("titok", "equivariance", "a sequence of latents does not turn with the signal"),
    ],
)
def test_what_has_no_grid_or_order_is_refused(recipe: str, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(recipe, SQUARE, {"regularisers": {kind: {}}})
