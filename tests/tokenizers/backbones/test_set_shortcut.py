"""The linear shortcut of a set: tokens find their places by name, in whatever order they come."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentbench.tokenizers.backbones.set_shortcut import SetShortcut
from latentbench.tokenizers.backbones.vit_config import ViTConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))


@pytest.fixture
def shortcut() -> SetShortcut:
    shortcut = SetShortcut(ViTConfig(tokens=6, topology="set"), IMAGE, (4, 4), 5)
    shortcut.on_train_start([torch.randn(100, 3, 8, 8)], whiten=False)
    return shortcut


@torch.no_grad()
def test_it_starts_as_the_ordered_one(shortcut: SetShortcut) -> None:
    x = torch.randn(5, 3, 8, 8)
    z = shortcut.encode(x)
    assert z.shape == (5, 5, 6)
    expected = shortcut.inner.decode(shortcut.inner.encode(x))
    error = (shortcut.decode(z) - expected).square().mean() / expected.square().mean()
    assert error < 1e-5  # what names that differ in one digit let through


@torch.no_grad()
def test_the_order_does_not_matter(shortcut: SetShortcut) -> None:
    z = shortcut.encode(torch.randn(5, 3, 8, 8))
    torch.testing.assert_close(shortcut.decode(z[:, :, torch.randperm(6)]), shortcut.decode(z))


def test_names_are_all_different(shortcut: SetShortcut) -> None:
    names = shortcut.names.detach()
    assert (torch.cdist(names, names) + 10 * torch.eye(6)).min() >= 4


def test_too_few_channels_for_a_name_have_no_shortcut() -> None:
    options = {"tokens": 9, "backbone": {"width": 8}, "bottleneck": {"kind": "identity"}}
    for channels, there in ((4, False), (5, True)):
        config = resolve("token-set", IMAGE, {**options, "channels": channels})
        tokenizer, x = build(config), torch.randn(4, 3, 8, 8)
        assert isinstance(tokenizer, ComposedTokenizer)
        assert (tokenizer.shortcut is not None) == there
        tokenizer.on_train_start([x])
        assert _varies(tokenizer.decode(tokenizer.encode(x)))
        assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())


def _varies(decoded: Tensor) -> bool:
    return bool(decoded.std() > 0)
