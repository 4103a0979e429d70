"""Tables of options: how one is laid over another, what a TSR and codes per position replace, tables renamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from latentbench.results.errors import UserError
from latentbench.tokenizers.bottlenecks.config import BOTTLENECKS
from latentbench.tokenizers.bottlenecks.vq_config import VQConfig
from latentbench.tokenizers.options import merge, merge_layer, normalise
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": {"e": 5}}, {"a": {"b": 4, "c": 2}, "d": {"e": 5}}),
        ({"x": {"kind": "a", "p": 1}}, {"x": {"kind": "b"}}, {"x": {"kind": "b"}}),
        ({"x": {"kind": "a", "p": 1}}, {"x": {"kind": "a", "q": 2}}, {"x": {"kind": "a", "p": 1, "q": 2}}),
        ({"x": {"p": 1}}, {"x": {"kind": "b"}}, {"x": {"p": 1, "kind": "b"}}),
        ({"t": {"flops": 1e9}}, {"t": {"steps": 5}}, {"t": {"flops": None, "steps": 5}}),
        ({"t": {"steps": 5}}, {"t": {"flops": 1e9}}, {"t": {"steps": 5, "flops": 1e9}}),
        ({"t": {"flops": 1e9}}, {"t": {"steps": 5, "flops": 1e8}}, {"t": {"flops": 1e8, "steps": 5}}),
    ],
)
def test_tables_are_merged_key_by_key(base: Mapping[str, Any], over: Mapping[str, Any], result: object) -> None:
    before = repr(base)
    assert merge(base, over) == result
    assert repr(base) == before


def test_a_tsr_and_what_gives_one_replace_each_other() -> None:
    heads = {"bottleneck": {"kind": "multi_head_vq", "heads": 4}, "channels": 32}
    assert merge_layer(heads, {"tsr": 24}) == {"bottleneck": {"kind": "multi_head_vq"}, "tsr": 24}
    assert merge_layer({**heads, "tsr": 24}, {"bottleneck": {"heads": 2}})["bottleneck"]["heads"] == 2
    assert "tsr" not in merge_layer({**heads, "tsr": 24}, {"bottleneck": {"heads": 2}})
    assert "tsr" not in merge_layer({"tsr": 24}, {"channels": 3})
    assert merge_layer({"tsr": 24}, {"channels": 3, "tsr": 12}) == {"tsr": 12, "channels": 3}
    assert merge_layer(heads, {"kbps": 3}) == {"bottleneck": {"kind": "multi_head_vq"}, "channels": 32, "kbps": 3}
    assert "kbps" not in merge_layer({**heads, "kbps": 3}, {"bottleneck": {"heads": 2}})
    assert merge_layer({"kbps": 3}, {"channels": 3}) == {"kbps": 3, "channels": 3}
    assert merge_layer({"kbps": 3}, {"tsr": 24}) == {"tsr": 24}
    assert merge_layer({"tsr": 24}, {"kbps": 3}) == {"kbps": 3}
    levels = {"bottleneck": {"kind": "fsq", "levels": [8, 6, 5]}}  # a code's levels, no number of codes
    assert merge_layer(levels, {"tsr": 24}) == {**levels, "tsr": 24}
    assert merge_layer({**levels, "tsr": 24}, {"bottleneck": {"levels": [8, 8]}})["tsr"] == 24


@dataclass(frozen=True, kw_only=True)
class GroupedConfig(VQConfig):
    """A third party's quantiser, whose number of codes per position has a name of its own."""

    kind: ClassVar[str] = "grouped"
    tsr_option: ClassVar[str | None] = "groups"

    groups: int = 2

    @property
    def codebooks(self) -> int:
        return self.groups


def test_a_tsr_is_solved_for_the_option_that_a_third_partys_bottleneck_names(image: SignalSpec) -> None:
    BOTTLENECKS.add("grouped", GroupedConfig)
    options = {"downsample": 4, "bottleneck": {"kind": "grouped", "groups": 8}, "tsr": 24}  # 1152 / (24 positions x 2)
    with pytest.raises(UserError, match=r"t.tsr: tsr 24 does not agree with 8 codes per position"):
        resolve("vq-vae", image, options, where="t")
    base = {"bottleneck": {"kind": "grouped", "groups": 8}, "channels": 16}
    assert merge_layer(base, {"tsr": 24}) == {"bottleneck": {"kind": "grouped"}, "tsr": 24}
    solved = resolve("vq-vae", image, {**options, "bottleneck": {"kind": "grouped"}})
    assert solved.spec.grid.heads == 2
    assert solved.spec.tsr == 24
    assert type(solved.bottleneck.build(solved.spec, features=16)).__name__ == "VQ"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": {"l1": 1.0}}, "t.objective: this table is now called losses"),
        ({"recoding": {"kind": "bpe"}}, "t.recoding: this table is now called sequence_coding"),
    ],
)
def test_a_renamed_table_says_its_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        normalise(options, where="t")
    assert str(caught.value) == message


def test_a_diffusion_decoder_has_a_table_of_its_own(image: SignalSpec) -> None:
    with pytest.raises(UserError) as caught:
        resolve("kl-vae", image, {"decoder": {"kind": "diffusion"}}, where="t")
    assert str(caught.value) == "t.decoder.kind: 'diffusion' is a diffusion decoder, whose table is diffusion_decoder"
    both = {"decoder": {"width": 8}, "diffusion_decoder": {"kind": "diffusion", "width": 8}}
    config = resolve("kl-vae", image, {**both, "channels": 4})
    assert config.decoder is not None
    assert config.diffusion_decoder is not None
    assert config.from_json(config.to_json()) == config
