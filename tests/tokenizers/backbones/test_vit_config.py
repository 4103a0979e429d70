"""What the vision transformer's options give: layouts, rates, refusals."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

PHOTO = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(64, 64))


def test_token_counts_that_no_grid_can_have() -> None:
    for tokens in (1, 7, 13):
        spec = resolve("titok", PHOTO, {"tokens": tokens, "codebook_size": 1024}).spec
        assert spec.grid.shape == (tokens,)
        assert spec.topology == "sequence"
        assert spec.bits_per_sample == 10 * tokens
        assert spec.tsr == 64 * 64 * 3 / tokens


def test_a_tsr_is_solved_for_what_each_token_holds() -> None:
    several = {"bottleneck": {"kind": "multi_head_vq", "codebook_size": 16}, "channels": 12}
    spec = resolve("titok", PHOTO, {"tokens": 16, "tsr": 192, **several}).spec
    assert spec.grid.codebook_sizes == (16,) * 4
    spec = resolve("titok", PHOTO, {"tokens": 16, "tsr": 96, "bottleneck": {"kind": "kl"}}).spec
    assert spec.grid.channels == 8
    with pytest.raises(UserError, match=r"t.tsr: tsr 100 needs 7.68 channels on 16 latent positions"):
        resolve("titok", PHOTO, {"tokens": 16, "tsr": 100, "bottleneck": {"kind": "kl"}}, where="t")


def test_without_tokens_it_has_the_grid_of_patches() -> None:
    spec = resolve("vit-vae", PHOTO, {"downsample": 8, "tsr": 24}).spec
    assert spec.grid.shape == (8, 8)
    assert spec.topology == "grid"
    assert spec.grid.channels == 8


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("titok", {"tokens": 0}, "t.backbone: tokens must be at least 1"),
        ("titok", {"backbone": {"width": 30}}, r"t.backbone: width must be a multiple of twice the attention_heads"),
        ("titok", {"backbone": {"mlp_ratio": 0.0}}, "t.backbone: mlp_ratio x width must be at least 1"),
        ("titok", {"backbone": {"mlp_ratio": float("inf")}}, "mlp_ratio: input should be a finite number"),
        ("vit-vae", {"backbone": {"topology": "set"}}, 't.backbone: topology "set" needs tokens'),
        ("titok", {"tokens": 4, "backbone": {"tokens": 4}}, "t.tokens: the same as backbone.tokens"),
        ("vq-vae", {"tokens": 4}, "t.backbone: tokens: unknown key"),
        ("titok", {"downsample": 5}, "t.downsample: downsample 5 does not divide the signal's height 64"),
        ("titok", {"decoder": {"kind": "conv"}}, "t.decoder: 'conv' can't read the grid of 'vit'"),
        ("titok", {"decoder": {"tokens": 5}}, "t.decoder: 'vit' can't read the grid of 'vit'"),
        ("vit-vae", {"backbone": {"positions": "rotary", "width": 64, "attention_heads": 32}}, "too few for 2 axes"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(recipe, PHOTO, options, where="t")


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from latentbench.tokenizers.recipe import resolve; "
        "from latentbench.tokenizers.spec import Modality, SignalSpec; "
        "s = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16)); "
        "[resolve(r, s, {}).estimate_flops() for r in ('titok', 'nested-dropout', 'token-set', 'vit-vae')]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)
