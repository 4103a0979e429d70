"""Whether gradients reach an encoder: by the probe and by looking at `.grad`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentbench.tasks.probes.config import GradientIsolationConfig
from latentbench.tasks.probes.gradient_isolation import encoder_share
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.base import Regulariser


class Detached(Regulariser):
    detaches_values = True


def trained(toys: SimpleNamespace, probed: Any, recipe: str, **options: Any) -> Any:
    config = resolve(recipe, toys.IMAGE, {"width": 8, "channels": 4, **options})
    tokenizer = build(config).eval().requires_grad_(False)
    with torch.no_grad():  # the shortcut alone decodes an untrained tokenizer
        for parameter in tokenizer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return probed(tokenizer, untrained=lambda: build(config))


def test_a_plain_autoencoder_has_the_gradient_that_backward_gives(
    toys: SimpleNamespace, probed: Any, measured: Any
) -> None:
    one = trained(toys, probed, "ae")
    metrics = measured("gradient_isolation", one)
    tokenizer, x = one.untrained(), one.data.val.data[:7]
    tokenizer.load_state_dict(one.tokenizer.state_dict())
    tokenizer.train().losses(x, group="model", step=99, steps=100)["loss"].backward()

    def norm(*modules: torch.nn.Module) -> float:
        return sum(float(p.grad.double().square().sum()) for m in modules for p in m.parameters()) ** 0.5

    expected = norm(tokenizer.encoder, tokenizer.project_in) / norm(tokenizer.decoder, tokenizer.project_out)
    assert metrics["encoder_gradient"].value == pytest.approx(expected, rel=1e-4)
    assert metrics["encoder_gradient"].value > 0
    assert metrics["companion_effect"].value == 0


def test_a_decoder_of_detached_values_reaches_no_encoder(toys: SimpleNamespace) -> None:
    tokenizer = build(resolve("ae", toys.IMAGE, {"width": 8, "channels": 4}))
    x = torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    assert encoder_share(tokenizer, x) > 0
    tokenizer.auxiliary_objectives["detached"] = Detached()
    assert encoder_share(tokenizer, x) == 0.0
    assert "_listener" not in tokenizer.auxiliary_objectives


def test_an_auxiliary_decoder_isolates_the_encoder(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    metrics = measured("gradient_isolation", trained(toys, probed, "auxiliary-decoder"))
    assert metrics["encoder_gradient"].value == 0.0
    assert metrics["companion_effect"].value == 0.0


def test_what_is_not_trained_is_refused(toys: SimpleNamespace, probed: Any) -> None:
    assert "trained" in GradientIsolationConfig().build().unsupported_reason(probed(toys.Identity()))
    config = resolve("pca", toys.IMAGE, {})
    tokenizer = build(config).eval()
    assert "parameters" in GradientIsolationConfig().build().unsupported_reason(
        probed(tokenizer, untrained=lambda: build(config))
    )
