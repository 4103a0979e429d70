"""The vision transformer: features on the patches' grid or in tokens, in every modality; sets have no order."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentbench.bench.flops import counter
from latentbench.tokenizers.backbones.vit_config import ViTConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

TINY: dict[str, Any] = {"width": 8, "layers": 2, "attention_heads": 2}


@pytest.mark.parametrize("tokens", [None, 5])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_shapes(signal: SignalSpec, tokens: int | None, positions: Any) -> None:
    config = ViTConfig(**TINY | {"width": 12}, tokens=tokens, positions=positions)  # a pair per head and axis
    factors = {1: (64,), 2: (4, 4), 3: (2, 4, 4)}[signal.modality.rank]
    encoder, decoder = config.build_encoder(signal, factors), config.build_decoder(signal, factors)
    x = torch.randn(2, signal.channels, *signal.shape)
    features = encoder(x)
    assert features.shape == (2, 12, *config.layout(signal, factors).shape)
    assert decoder(features).shape == x.shape


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_patch_goes_where_it_came_from(positions: Any) -> None:
    """Without blocks in between, position by position: a change stays in its patch."""
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 12))
    config = ViTConfig(**TINY, positions=positions)
    decoder = config.build_decoder(signal, (4, 4))
    decoder.trunk.blocks = _Nothing()
    features = torch.randn(1, 8, 2, 3)
    changed = features.clone()
    changed[0, :, 1, 2] += 1
    moved = (decoder(changed) - decoder(features))[0].abs().amax(0) > 0
    assert moved[4:, 8:].all()
    assert moved.sum() == 16


class _Nothing(torch.nn.Module):
    def forward(self, x: torch.Tensor, rotary: Any = None) -> torch.Tensor:
        return x


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_the_order_of_tokens_matters_in_a_sequence_alone(positions: Any) -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(64,))
    features, order = torch.randn(2, 8, 6), torch.tensor([3, 0, 5, 1, 4, 2])
    for topology, same in (("sequence", False), ("set", True)):
        config = ViTConfig(**TINY, tokens=6, topology=topology, positions=positions)
        decoder = config.build_decoder(signal, (8,))
        assert torch.allclose(decoder(features), decoder(features[:, :, order]), atol=1e-5) == same


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_tokens_know_where_patches_are(positions: Any) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(8, 8))
    encoder = ViTConfig(**TINY, tokens=3, positions=positions).build_encoder(signal, (4, 4))
    x = torch.randn(1, 1, 8, 8)
    assert not torch.allclose(encoder(x), encoder(x.roll(4, dims=-1)), atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tokens": 3},
        {"tokens": 20, "positions": "rotary"},
        {"tokens": 6, "topology": "set", "mlp_ratio": 1.5},
        {"tokens": 7, "shortcut": False},
        {"tokens": 7, "topology": "set", "shortcut": False},
        {"positions": "rotary", "mlp_ratio": 2.0},
    ],
)
@pytest.mark.parametrize("shape", [(16, 24), (96, 96)])
def test_cost_as_arithmetic_is_the_cost_as_counted(options: dict[str, Any], shape: tuple[int, int]) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=shape)
    config = resolve("vit-vae", signal, {"backbone": {**TINY, **options}, "channels": 6})
    tokenizer = build(config).eval()
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    with counter() as counted, torch.no_grad():
        tokenizer.decode(tokenizer.encode(torch.randn(2, 3, *shape)))
    assert config.estimate_flops() == pytest.approx(counted.get_total_flops() / 2, rel=1e-6)


@pytest.mark.parametrize(("backbone", "decoder"), [("vit", "conv"), ("conv", "vit"), ("vit", "patch")])
def test_the_grid_of_patches_is_that_of_other_backbones(image: SignalSpec, backbone: str, decoder: str) -> None:
    kinds = {"vit": {"kind": "vit", **TINY}, "conv": {"kind": "conv", "width": 8}, "patch": {"kind": "patch"}}
    config = resolve("ae", image, {"backbone": kinds[backbone], "decoder": kinds[decoder]})
    tokenizer, x = build(config), torch.randn(2, 3, 16, 24)
    tokenizer.on_train_start([x])
    assert tokenizer.decode(tokenizer.encode(x)).shape == x.shape
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())


def test_it_runs_under_autocast(image: SignalSpec) -> None:
    for recipe in ("vit-vae", "titok", "token-set"):
        tokenizer = build(resolve(recipe, image, {"width": 8}))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = tokenizer.losses(torch.randn(2, 3, 16, 24), group="model", step=0, steps=1)
        losses["loss"].backward()
        assert losses["loss"].isfinite()
