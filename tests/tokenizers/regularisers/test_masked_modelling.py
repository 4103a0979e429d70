"""Masked modelling: what the encoder reads, where the loss is taken, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.masked_modelling import MaskedModelling, ShallowDecoder
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.targets import LogMelEnergies

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 24))


def masked(x: Tensor, signal: SignalSpec = IMAGE, **options: Any) -> tuple[ComposedTokenizer, MaskedModelling]:
    tokenizer = build(resolve("maetok", signal, {"width": 8, "regularisers": {"masked_modelling": options}}))
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    part = tokenizer.auxiliary_objectives["masked_modelling"]
    assert isinstance(part, MaskedModelling)
    return tokenizer, part


def test_the_encoder_reads_what_is_left_and_the_objective_compares_with_all(sample: Callable[..., Tensor]) -> None:
    x, read = sample(IMAGE, 4), []
    tokenizer, _ = masked(x, least=0.5, most=0.5)
    tokenizer.encoder.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    decoded: list[Tensor] = []
    tokenizer.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(output))
    losses = tokenizer.losses(x, group="model", step=0, steps=10)
    blocks = read[0].unflatten(2, (4, 4)).unflatten(4, (6, 4))
    empty = (blocks == 0).all(dim=5).all(dim=3).all(dim=1).flatten(1)
    assert empty.sum(1).tolist() == [12] * 4
    full = (decoded[0] + tokenizer.shortcut.decode(tokenizer.encode(read[0]).values) - x).abs().mean()  # type: ignore[union-attr,arg-type]
    torch.testing.assert_close(losses["l1"], full.detach())


def test_the_loss_is_of_the_hidden_places_alone(sample: Callable[..., Tensor]) -> None:
    x, read = sample(IMAGE, 4), []
    tokenizer, part = masked(x, weight=0.3)
    tokenizer.encoder.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    losses = tokenizer.losses(x, group="model", step=0, steps=10)
    z = tokenizer.encode(read[0]).values
    assert z is not None
    predicted = part.decode(z.flatten(2).mT)
    cosine = F.cosine_similarity(predicted, part.normalised(x).flatten(1, 2), dim=-1)
    hidden = (read[0] == 0).all(1)[:, ::4, ::4].flatten(1)
    torch.testing.assert_close(losses["masked"], 0.3 * (1 - cosine[hidden].mean()).detach())


def test_after_its_share_of_the_training_nothing_is_hidden(sample: Callable[..., Tensor]) -> None:
    x, read = sample(IMAGE, 4), []
    tokenizer, _ = masked(x, until=0.5)
    tokenizer.encoder.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    assert "masked" in tokenizer.losses(x, group="model", step=4, steps=10)
    assert "masked" not in tokenizer.losses(x, group="model", step=5, steps=10)
    tokenizer.eval()
    assert "masked" not in tokenizer.losses(x, group="model", step=0, steps=10)
    assert [torch.equal(signal, x) for signal in read] == [False, True, True]
    assert resolve("maetok", IMAGE, {}).schedule_milestones() == (0.0, 0.7)


def test_a_set_is_read_without_an_order(sample: Callable[..., Tensor]) -> None:
    tokens = torch.randn(2, 5, 3)
    for shape, alike in ((None, True), ((5,), False)):
        decoder = ShallowDecoder(3, 7, shape, (2, 3), width=16)
        forth, back = decoder(tokens), decoder(tokens.flip(1))
        assert forth.shape == (2, 6, 7)
        assert torch.allclose(forth, back, atol=1e-5) == alike
    options = {"backbone": {"width": 16, "attention_heads": 2, "layers": 1}, "codebook_size": 16}
    tokenizer = build(resolve("token-set", IMAGE, {**options, "regularisers": {"masked_modelling": {}}}))
    x = sample(IMAGE, 4)
    tokenizer.on_train_start([x])
    assert tokenizer.losses(x, group="model", step=0, steps=4)["masked"].item() > 0


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("vq-vae-2", {}, "one grid of latents, and 'vq_vae_2' has 2"),
        ("semantic-vq", {}, "which self_supervised trains alone"),
        ("kl-vae", {"least": 0.7}, "least at most as large as most"),
        ("kl-vae", {"until": 0.0}, r"until must lie in \(0, 1\]"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"regularisers.masked_modelling: .*{message}"):
        resolve(recipe, IMAGE, {"regularisers": {"masked_modelling": options}})


def test_the_features_of_a_sound_have_a_frame_per_place() -> None:
    """Also where the latents are fewer tokens: what is compared are the patches."""
    sound = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=8000.0)
    options = {"backbone": {"width": 16, "attention_heads": 2, "layers": 1, "tokens": 4}}
    config = resolve("titok", sound, {**options, "downsample": 32, "regularisers": {"masked_modelling": 1.0}})
    part = MaskedModelling(config.regularisers[0], config)  # type: ignore[arg-type]
    assert part.places == (32,)
    assert config.spec.grid.shape == (4,)
    assert isinstance(part.target, LogMelEnergies)
    assert part.target.mel.hop == 32
