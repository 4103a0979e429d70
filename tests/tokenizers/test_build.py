"""Tokenizers are made as ever where gradients are off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec


@pytest.mark.parametrize("recipe", ["auxiliary-decoder", "vq-vae-ema", "scrambled", "vq-vae-bpe"])
def test_one_made_for_measuring_could_be_trained(recipe: str, make_signal: Callable[..., SignalSpec]) -> None:
    options = {"width": 8, "downsample": 4}
    if recipe == "scrambled":
        recipe, options = "auxiliary-decoder", {**options, "scramble": "positions"}
    config = resolve(recipe, make_signal("image", (16, 16)), options)
    with torch.inference_mode():
        measuring = build(config)
        measuring.encode(torch.zeros(2, 3, 16, 16))
    assert not any(tensor.is_inference() for tensor in measuring.state_dict().values())
    trained = {name for name, parameter in build(config).named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in measuring.named_parameters() if parameter.requires_grad} == trained
    assert not torch.is_inference_mode_enabled()
