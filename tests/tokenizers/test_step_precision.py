"""Which parts of a step under autocast compute in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec
from latentbench.tokenizers.step_precision import float32_inside, step_precision

CPU = torch.device("cpu")


def test_the_step_s_precision_comes_back_inside() -> None:
    def enabled() -> bool:
        return torch.is_autocast_enabled("cpu")

    for outer in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=outer):
            with float32_inside(CPU):
                assert not enabled()
                with step_precision(CPU):
                    assert enabled() == outer
                assert not enabled()
            assert enabled() == outer
    with step_precision(CPU):
        assert not enabled()


@pytest.mark.parametrize(
    ("recipe", "part", "group"),
    [
        ("vqgan", "auxiliary_objectives.adversary.discriminator", "discriminator"),
        ("diffusion-decoder", "diffusion_decoder.net", "model"),
    ],
)
def test_discriminators_and_diffusion_decoders_compute_as_the_step_does(
    make_signal: Callable[..., SignalSpec], recipe: str, part: str, group: str
) -> None:
    signal = make_signal("image", (16, 16))
    model: Any = build(resolve(recipe, signal, {"width": 8, "downsample": 4})).train()
    dtypes: set[torch.dtype] = set()
    for module in model.get_submodule(part).modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: dtypes.add(output.dtype))
    for bfloat16 in (True, False):
        dtypes.clear()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            batch = torch.rand(2, 3, 16, 16)
            losses = [model.losses(batch, group=name, step=9, steps=10) for name in dict.fromkeys(("model", group))]
        assert dtypes == {torch.bfloat16 if bfloat16 else torch.float32}
        for terms in losses:
            terms["loss"].backward()
            assert {value.dtype for value in terms.values()} == {torch.float32}


def test_only_what_it_changes_has_another_key(make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("image", (16, 16))
    for recipe, changed in (("vqgan", True), ("diffusion-decoder", True), ("kl-vae", False)):
        for precision in ("auto", "float32", "bfloat16"):
            versions = resolve(recipe, signal, {"training": {"precision": precision}}).versions()
            assert ("training.bfloat16" in versions) == (changed and precision == "bfloat16")
