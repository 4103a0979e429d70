"""Sets have one order that stands for all, and what is decoded from them the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.sets import arranged, order_of, sorted_set, sorted_values
from latentbench.tokenizers.spec import SignalSpec

Sample = Callable[..., Tensor]


def shuffled(rows: Tensor, order: Tensor) -> Tensor:
    return rows[:, :, order]


def test_the_order_is_lexicographic() -> None:
    rows = torch.randint(3, (4, 2, 9))
    ordered = arranged(rows, order_of(rows)).transpose(1, 2)
    assert [[tuple(row) for row in sample] for sample in ordered.tolist()] == [
        sorted(tuple(row) for row in sample) for sample in rows.transpose(1, 2).tolist()
    ]
    floats = torch.tensor([[[0.5, -0.0, 0.0, -1.0], [1.0, 3.0, 2.0, 0.0]]])
    assert order_of(floats).tolist() == [[3, 2, 1, 0]]


def test_all_parts_of_a_set_share_the_order() -> None:
    codes = torch.tensor([[[5, 1, 3]]])
    latents = sorted_set(Latents(values=codes * 10.0, codes=codes, scale=codes * 0.1))
    assert latents.codes is not None
    assert latents.values is not None
    assert latents.scale is not None
    assert latents.codes.tolist() == [[[1, 3, 5]]]
    torch.testing.assert_close(latents.values, latents.codes * 10.0)
    torch.testing.assert_close(latents.scale, latents.codes * 0.1)
    with pytest.raises(ValueError, match="without values"):
        sorted_set(Latents())


BOTTLENECKS: list[dict[str, Any]] = [
    {},
    {"bottleneck": {"kind": "multi_head_vq", "heads": 3, "codebook_size": 8}, "channels": 9},
    {"bottleneck": {"kind": "fsq", "levels": [4, 3, 3, 3]}},
    {"bottleneck": {"kind": "kl"}, "channels": 6},
    {"bottleneck": {"kind": "linear"}, "channels": 6},
]


@pytest.mark.parametrize("options", BOTTLENECKS, ids=["vq", "heads", "fsq", "kl", "linear"])
def test_any_permutation_decodes_to_the_same_bits(options: dict[str, Any], signal: SignalSpec, sample: Sample) -> None:
    config = resolve("token-set", signal, {"width": 8, "tokens": 11, **options})
    tokenizer, x = build(config), sample(signal)
    tokenizer.on_train_start([x])
    tokenizer.eval()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # wakes what starts at zero
        latents = tokenizer.encode(x)
        decoded = tokenizer.decode(latents)
        assert decoded.std(0).max() > 1e-4
        key = latents.codes if latents.codes is not None else latents.values
        assert key is not None
        assert torch.equal(arranged(key, order_of(key)), key), "encoding gives the canonical order"
        for seed in range(2):
            order = torch.randperm(11, generator=torch.Generator().manual_seed(seed))
            if latents.codes is not None:
                codes = shuffled(latents.codes, order)
                assert torch.equal(tokenizer.decode(Latents(codes=codes)), decoded)
            if latents.values is not None:
                values = shuffled(latents.values, order)
                assert torch.equal(tokenizer.decode(Latents(values=values)), decoded)
                both = replace(latents, values=values, scale=None)
                if latents.codes is not None:
                    both = replace(both, codes=shuffled(latents.codes, order))
                assert torch.equal(tokenizer.decode(both), decoded)


def test_a_sequence_has_an_order(image: SignalSpec, sample: Sample) -> None:
    tokenizer, x = build(resolve("titok", image, {"width": 8, "tokens": 5})), sample(image)
    tokenizer.on_train_start([x])
    with torch.no_grad():
        codes = tokenizer.encode(x).codes
        assert codes is not None
        assert not torch.equal(tokenizer.decode(Latents(codes=codes.flip(2))), tokenizer.decode(Latents(codes=codes)))


def test_values_of_a_set_are_sorted() -> None:
    values = torch.randn(3, 2, 6)
    assert (sorted_values(values)[:, 0].diff(dim=1) >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottleneck": {"kind": "vq_vae_2"}}, "t.bottleneck: a hierarchy of grids needs an order"),
        ({"sequence_coding": {"kind": "bpe"}}, "t.sequence_coding: bpe codes one grid or sequence"),
    ],
)
def test_what_needs_an_order_is_refused(image: SignalSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("token-set", image, {"tokens": 8, **options}, where="t")
