"""Any tokenizer behind any scramble decodes to the same bits; plans share its training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.scrambles.config import SCRAMBLES
from latentbench.tokenizers.scrambles.tokenizer import ScrambledTokenizer
from latentbench.tokenizers.spec import SignalSpec

PAGE = Path(__file__).parents[3] / "docs" / "scrambles.md"
VALUES = ["channel_mix", "noise_channels", "position_mix", "positions", "signs"]
OPTIONS: dict[str, dict[str, Any]] = {
    "kl-vae": {"channels": 4, "width": 8, "downsample": 8},
    "vq-vae": {"codebook_size": 16, "width": 8, "downsample": 8},
    "vq-vae-2": {"codebook_size": 16, "width": 8},
    "titok": {"codebook_size": 16, "tokens": 4},
    "vq-vae-bpe": {"codebook_size": 16, "width": 8},
    "pca": {"channels": 4},
    "dct": {},
}
CASES = [("kl-vae", name) for name in VALUES]
CASES += [("pca", name) for name in VALUES]
CASES += [(recipe, name) for recipe in ("vq-vae", "vq-vae-2", "titok", "dct") for name in ("positions", "codes")]
CASES += [("vq-vae-bpe", "codes")]


def configured(recipe: str, signal: SignalSpec, scramble: Any = "none") -> TokenizerConfig:
    return resolve(recipe, signal, {**OPTIONS[recipe], "scramble": scramble})


@pytest.mark.parametrize(("recipe", "scramble"), CASES)
def test_reconstructions_are_the_same_to_the_bit(recipe: str, scramble: str, image: SignalSpec) -> None:
    torch.manual_seed(3)
    plain = build(configured(recipe, image)).eval()
    torch.manual_seed(3)
    scrambled = build(configured(recipe, image, scramble)).eval()
    x = torch.tanh(torch.randn(16, image.channels, *image.shape))
    for tokenizer in (plain, scrambled):
        torch.manual_seed(4)
        tokenizer.on_train_start([x])
        tokenizer.on_train_end([x])
    with torch.inference_mode():
        first, second = plain.encode(x), scrambled.encode(x)
        decoded, expected = scrambled.decode(second), plain.decode(first)
        assert torch.equal(decoded, expected)
        assert decoded.stride() == expected.stride()  # features of what lies otherwise in memory are rounded otherwise
        seen = [
            (a.codes, b.codes) if a.codes is not None else (a.values, b.values)
            for a, b in zip(first.levels, second.levels, strict=True)
        ]
        assert not all(torch.equal(a, b) for a, b in seen)
        points = scrambled.operating_points()
        assert points.keys() == plain.operating_points().keys()
        for name, decode in plain.operating_points().items():
            assert torch.equal(points[name](second), decode(first))
    for level, grid in zip(second.levels, scrambled.spec.grids, strict=True):
        if level.values is not None:
            assert level.values.shape[1:] == (grid.channels, *grid.shape)


@pytest.mark.parametrize("scramble", ["codes", "positions"])
def test_operating_points_read_the_inner_tokenizers_part(scramble: str, image: SignalSpec) -> None:
    options = {"width": 8, "codebook_size": 16, "levels": 3, "scramble": scramble}
    tokenizer = build(resolve("rvq", image, options)).eval()
    assert isinstance(tokenizer, ScrambledTokenizer)
    with torch.no_grad():
        latents = tokenizer.encode(torch.rand(3, image.channels, *image.shape))
        part = tokenizer.read_at("depth_2", Latents(codes=latents.codes))
        decoded = tokenizer.operating_points()["depth_2"](latents)
    assert part is not None
    assert torch.equal(tokenizer.inner.decode(part), decoded)
    assert tokenizer.read_at("depth_3", latents) is latents
    assert tokenizer.read_at("prefix_1", latents) is None


def test_codes_alone_are_decoded_too(image: SignalSpec) -> None:
    tokenizer = build(configured("vq-vae", image, "codes")).eval()
    latents = tokenizer.encode(torch.rand(3, *(image.channels, *image.shape)))
    torch.testing.assert_close(tokenizer.decode(Latents(codes=latents.codes)), tokenizer.decode(latents))


def test_the_configuration_survives_json_and_costs_the_same(image: SignalSpec) -> None:
    for recipe in ("kl-vae", "dct"):
        config = configured(recipe, image, {"kind": "positions", "seed": 4})
        again = TokenizerConfig.from_json(config.to_json())
        assert again == config
        assert again.to_json()["scramble"] == {"kind": "positions", "seed": 4}
        assert "scramble" not in config.unscrambled.to_json()
        assert config.estimate_flops() == config.unscrambled.estimate_flops()
        assert config.versions() == config.unscrambled.versions() | {"scramble.positions": 1}


def test_mistakes_are_one_line(image: SignalSpec) -> None:
    with pytest.raises(UserError, match=r"scramble\.kind: unknown scramble 'position'; did you mean 'positions'"):
        configured("kl-vae", image, "position")
    with pytest.raises(UserError, match=r"scramble: see: unknown key; did you mean 'seed'"):
        configured("kl-vae", image, {"kind": "positions", "see": 1})
    with pytest.raises(UserError, match=r"scramble: codes renumbers codes, and these latents are continuous"):
        configured("kl-vae", image, "codes")
    with pytest.raises(UserError, match=r"scramble: expected a table, got 3"):
        configured("kl-vae", image, 3)


def test_cells_share_the_trained_tokenizer_and_all_else_is_their_own() -> None:
    suite: dict[str, Any] = {
        "name": "controls",
        "data": {"name": "image", "size": 16},
        "features": ["encoder"],
        "tokenizers": {"recipe": "kl-vae", "channels": 4, "grid": {"scramble": ["none", "positions", "signs"]}},
    }
    plan = make_plan(load_suite(suite), {})
    kinds = {name: [planned.jobs.get(name) for planned in plan.cells] for name in ("tokenizer", "scramble", "latents")}
    assert len(set(kinds["tokenizer"])) == 1
    assert kinds["scramble"][0] is None
    assert len(set(kinds["scramble"])) == 3
    for kind in ("latents", "reconstruction", "prior", "generation", "modelability"):
        assert len({planned.jobs[kind] for planned in plan.cells}) == 3
    del suite["tokenizers"]["grid"]
    (plain,) = make_plan(load_suite(suite), {}).cells
    assert plain.jobs == plan.cells[0].jobs  # "none" is what a suite without scrambles has
    assert [planned.cell.name for planned in plan.cells][1] == "image kl-vae scramble=positions seed=0"


def test_the_page_names_every_scramble() -> None:
    text = PAGE.read_text()
    assert [name for name in SCRAMBLES.names() if f"| `{name}` |" not in text] == []


def test_the_added_scramble_works(image: SignalSpec) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    exec(compile(code, "docs/scrambles.md", "exec", dont_inherit=True), {"__name__": "example"})
    torch.manual_seed(0)
    plain = build(configured("kl-vae", image)).eval()
    torch.manual_seed(0)
    scrambled = build(configured("kl-vae", image, {"kind": "roll", "by": 1})).eval()
    x = torch.rand(2, image.channels, *image.shape)
    assert torch.equal(scrambled.encode(x).values, plain.encode(x).values.roll(1, -1))
    assert torch.equal(scrambled.decode(scrambled.encode(x)), plain.decode(plain.encode(x)))
