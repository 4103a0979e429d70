"""Larger signals: what is joined, that a convolution decodes it as it should, and whose weights fit no other size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentbench.tasks.metrics.psnr import psnr, to_uint8
from latentbench.tasks.precision import set_precision
from latentbench.tasks.probes import default_probes, probes
from latentbench.tasks.probes.larger_signals import enlarged, join
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve


def trained(toys: SimpleNamespace, recipe: str, **options: Any) -> Any:
    tokenizer = build(resolve(recipe, toys.IMAGE, {"channels": 4, **options}))
    tokenizer.on_train_start([toys.Data().train.data])
    tokenizer.drop_training_modules()
    return tokenizer.eval()


def test_samples_are_joined_along_every_axis() -> None:
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 2, 1, 2)
    assert join(x)[:, 1].tolist() == [[[0, 0, 2, 2], [1, 1, 3, 3]], [[4, 4, 6, 6], [5, 5, 7, 7]]]
    assert join(torch.arange(6.0).view(6, 1, 1)).flatten(1).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_patches_that_are_coded_alone_are_the_same_on_a_larger_grid(
    toys: SimpleNamespace, probed: Any, measured: Any
) -> None:
    found = measured("larger_signals", probed(trained(toys, "pca")))
    assert found["larger_gain"].value == pytest.approx(0, abs=1e-3)
    assert found["larger_gain"].n == found["psnr_larger"].n == 5  # of 20 samples, in batches of 7


def test_a_convolution_is_scored_on_what_it_makes_of_the_whole(
    toys: SimpleNamespace, probed: Any, measured: Any
) -> None:
    tokenizer = trained(toys, "kl-vae", width=8, regularisers={"nested_dropout": 0.0})
    for parameter in tokenizer.decoder.parameters():  # its last layer starts at zero
        torch.nn.init.normal_(parameter, std=0.1)
    probe_input = probed(tokenizer)
    x = probe_input.data.val.data
    with torch.no_grad():
        whole = tokenizer.decode(tokenizer.encode(join(x)))
        apart = join(tokenizer.decode(tokenizer.encode(x)))
    larger, smaller = (psnr(to_uint8(y), to_uint8(join(x))) for y in (whole, apart))
    found = measured("larger_signals", probe_input)
    assert found["psnr_larger"].value == pytest.approx(larger.mean().item(), abs=1e-3)
    assert found["larger_gain"].value == pytest.approx((larger - smaller).mean().item(), abs=1e-3)
    assert abs(found["larger_gain"].value) > 1e-3


def test_what_was_trained_beside_the_tokenizer_is_made_and_dropped(
    toys: SimpleNamespace, probed: Any, measured: Any
) -> None:
    """Probes measure without gradients, and an auxiliary decoder tries one when it is made."""
    tokenizer = trained(toys, "auxiliary-decoder", width=8)
    with torch.inference_mode():
        found = measured("larger_signals", probed(tokenizer))
    assert found["larger_gain"].n == 5


def test_the_larger_one_computes_in_the_same_precision(
    toys: SimpleNamespace, probed: Any, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    autocast: list[bool] = []

    def watched(tokenizer: Any) -> Any:
        larger = enlarged(tokenizer)
        assert larger is not None
        larger.decoder.register_forward_pre_hook(lambda *_: autocast.append(torch.is_autocast_enabled("cpu")))
        return larger

    monkeypatch.setattr("latentbench.tasks.probes.larger_signals.enlarged", watched)
    for precision in ("float32", "bfloat16"):
        tokenizer = set_precision(trained(toys, "kl-vae", width=8), precision, torch.device("cpu"))
        measured("larger_signals", probed(tokenizer, precision=precision))
        assert set(autocast) == {precision == "bfloat16"}
        autocast.clear()


def test_what_fits_one_size_alone_is_refused(toys: SimpleNamespace, probed: Any) -> None:
    probe = probes.get("larger_signals")().build()
    assert "depend on the signal's size" in str(probe.unsupported_reason(probed(trained(toys, "vit-vae"))))
    assert "4 samples are joined, and there are 3" in str(
        probe.unsupported_reason(probed(trained(toys, "pca"), samples=3))
    )
    assert "not composed of parts" in str(probe.unsupported_reason(probed(toys.Identity())))


def test_it_is_made_on_request_alone() -> None:
    on_request = set(probes.names()) - set(default_probes())
    assert on_request == {
        "code_stability",
        "feature_information",
        "larger_signals",
        "perturbed_distance",
        "spectrum_distance",
    }
