"""The auxiliary decoder: who trains the encoder, how it starts, and that dropping it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.auxiliary.auxiliary_decoder import AuxiliaryDecoder
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec

Sample, Observe = Callable[..., Tensor], Callable[..., Any]
# Ends of the names of a shortcut's parameters that only encode.
ENCODING = ("down.weight", "down.bias", "names")


def tokenizer_with(signal: SignalSpec, options: object, recipe: str = "ae", **more: object) -> ComposedTokenizer:
    torch.manual_seed(3)
    tokenizer = build(resolve(recipe, signal, {"auxiliary": {"auxiliary_decoder": options}, **more}))
    assert isinstance(tokenizer, ComposedTokenizer)
    return tokenizer


def auxiliary_of(tokenizer: ComposedTokenizer) -> AuxiliaryDecoder:
    auxiliary = tokenizer.auxiliary_objectives["auxiliary_decoder"]
    assert isinstance(auxiliary, AuxiliaryDecoder)
    return auxiliary


def wake(tokenizer: ComposedTokenizer) -> None:
    """Moves parameters that start at zero, behind which gradients would be exactly zero."""
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)


@pytest.mark.parametrize(
    ("recipe", "options", "more"),
    [
        ("ae", {}, {"channels": 4}),
        ("vq-vae", {"width": 12, "loss": "l2"}, {"latent_noise": 0.1}),
        ("ae", {}, {"bottleneck": {"kind": "linear"}, "channels": 4}),
        ("vq-vae-2", {}, {"decoder": {"width": 12}}),
    ],
)
def test_only_the_auxiliary_loss_reaches_the_encoder(
    recipe: str,
    options: dict[str, object],
    more: dict[str, object],
    signal: SignalSpec,
    sample: Sample,
    observe: Observe,
) -> None:
    tokenizer, x = tokenizer_with(signal, options, recipe, width=8, **more), sample(signal)
    tokenizer.on_train_start([x])
    wake(tokenizer)
    training_step, added, _ = observe(tokenizer, "auxiliary_decoder", x)
    own = [p for p in auxiliary_of(tokenizer).parameters() if p.requires_grad]
    encoder, decoder = (list(half.parameters()) for half in (tokenizer.encoder, tokenizer.decoder))

    def moved(loss: Tensor, parameters: list[torch.nn.Parameter]) -> set[bool]:
        tokenizer.zero_grad()
        loss.backward(retain_graph=True)
        return {parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters}

    loss = torch.stack(list(added.losses.values())).sum()
    assert moved(loss, encoder) == {True}
    assert moved(training_step.fidelity, encoder) == {False}
    assert moved(training_step.fidelity, decoder) == {True}
    assert moved(loss, decoder) == {False}
    assert moved(loss, own) == {True}
    assert moved(training_step.fidelity, own) == {False}


def test_its_loss_is_that_of_what_it_makes(image: SignalSpec, sample: Sample) -> None:
    tokenizer, x = tokenizer_with(image, {"weight": 0.5, "loss": "l2"}, "vq-vae", width=8), sample(image)
    tokenizer.on_train_start([x])
    wake(tokenizer)
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    assert set(losses) == {"loss", "l1", "commitment", "codebook", "auxiliary_l2"}
    with torch.no_grad():
        latents = tokenizer.encode(x)
        assert latents.values is not None
        decoded = auxiliary_of(tokenizer)(latents.values)
    assert losses["auxiliary_l2"].item() == pytest.approx(0.5 * (decoded - x).square().mean().item(), rel=1e-5)
    same = tokenizer_with(image, {}, "vq-vae", width=8, losses={"l1": 0.5, "l2": 2.0})
    assert {"auxiliary_l1", "auxiliary_l2"} < set(same.losses(x, group="model", step=0, steps=1))


@pytest.mark.parametrize(("recipe", "options"), [("kl-vae", {"width": 12}), ("titok", {}), ("token-set", {})])
def test_both_decoders_start_at_the_same_linear_map(
    recipe: str, options: dict[str, object], signal: SignalSpec, sample: Sample
) -> None:
    more = {"width": 8} if recipe == "kl-vae" else {}
    tokenizer, x = tokenizer_with(signal, options, recipe, **more), sample(signal)
    tokenizer.on_train_start([x])
    with torch.no_grad():
        latents = tokenizer.encode(x)
        assert latents.values is not None
        decoded = auxiliary_of(tokenizer)(latents.values)
        torch.testing.assert_close(decoded, tokenizer.decode(latents))
    assert decoded.std() > 0.05
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    shortcut = auxiliary_of(tokenizer).shortcut
    assert shortcut is not None
    for name, parameter in shortcut.named_parameters():  # the half that encodes is not trained
        assert (parameter.grad is not None) == parameter.requires_grad == (not name.endswith(ENCODING)), name


def test_it_reads_what_the_decoder_reads(image: SignalSpec, sample: Sample, observe: Observe) -> None:
    tokenizer, x = tokenizer_with(image, {}, "ae", width=8, latent_noise=0.5), sample(image)
    tokenizer.on_train_start([x])
    read: list[Tensor] = []
    for module in (tokenizer.project_out, auxiliary_of(tokenizer).project):
        module.register_forward_pre_hook(lambda module, args: read.append(args[0]))  # type: ignore[operator]
    training_step, _, _ = observe(tokenizer, "auxiliary_decoder", x)
    assert torch.equal(*read)
    assert read[0].is_leaf
    assert not read[1].is_leaf
    assert not torch.equal(read[0], training_step.bottleneck_output.values)


def test_dropping_it_changes_no_output(signal: SignalSpec, sample: Sample) -> None:
    tokenizer, x = tokenizer_with(signal, {}, "kl-vae", width=8), sample(signal)
    tokenizer.on_train_start([x])
    optimiser = AdamW(tokenizer.param_groups()["model"], lr=1e-2)
    for step in range(3):
        optimiser.zero_grad()
        tokenizer.losses(x, group="model", step=step, steps=3)["loss"].backward()
        optimiser.step()
    tokenizer.eval()
    with torch.no_grad():
        latents = tokenizer.encode(x)
        decoded = tokenizer.decode(latents)
        tokenizer.drop_training_modules()
        twin = tokenizer_with(signal, 0, "kl-vae", width=8).eval()
        twin.load_state_dict(tokenizer.state_dict())
        for after in (tokenizer, twin):
            again = after.encode(x)
            assert again.values is not None
            assert latents.values is not None
            assert torch.equal(again.values, latents.values)
            assert torch.equal(after.decode(again), decoded)


def test_the_recipe_survives_json(signal: SignalSpec) -> None:
    config = resolve("auxiliary-decoder", signal, {"auxiliary": {"auxiliary_decoder": {"width": 24}}})
    assert TokenizerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.versions()["auxiliary.auxiliary_decoder"] == 1
    assert config.estimate_parameters() == resolve("kl-vae", signal, {}).estimate_parameters()


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("ae", {"width": 0}, "t.auxiliary.auxiliary_decoder: width must be at least 1"),
        ("ae", {"loss": "l3"}, "loss: input should be 'objective', 'l1' or 'l2'"),
        ("pca", {"width": 8}, "t.auxiliary.auxiliary_decoder: backbone 'patch' has no width"),
    ],
)
def test_a_mistake_is_one_line(recipe: str, options: dict[str, object], message: str, image: SignalSpec) -> None:
    with pytest.raises(UserError, match=message):
        resolve(recipe, image, {"auxiliary": {"auxiliary_decoder": options}}, where="t")
