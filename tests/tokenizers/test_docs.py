"""The examples of docs/tokenizers.md, docs/bottlenecks.md and docs/regularisers.md, run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from latentbench.tokenizers.bottlenecks.config import BOTTLENECKS
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import recipe_names, resolve
from latentbench.tokenizers.regularisers.config import REGULARISERS
from latentbench.tokenizers.spec import Modality, SignalSpec

DOCS = Path(__file__).parents[2] / "docs"


def example(page: str, language: str, having: str = "") -> str:
    """The page's one block in that language, of those with the text `having`."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [text for text in blocks if having in text]
    return block


@pytest.fixture
def _bottlenecks_restored() -> Iterator[None]:
    before = dict(BOTTLENECKS._entries)
    yield
    BOTTLENECKS._entries = before


@pytest.mark.usefixtures("_bottlenecks_restored")
def test_the_added_bottleneck_works_in_every_modality(signal: SignalSpec) -> None:
    code = example("bottlenecks.md", "python")
    assert len(code.splitlines()) < 40
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs/bottlenecks.md", "exec", dont_inherit=True), namespace)
    config = resolve("vq-vae", signal, {"bottleneck": {"kind": "sign"}, "channels": 8, "width": 8})
    assert config.spec.grid.codebook_sizes == (256,)
    tokenizer = build(config)
    x = torch.randn(2, signal.channels, *signal.shape)
    tokenizer.losses(x, player="model", step=0, steps=1)["loss"].backward()
    assert all(p.grad is not None for p in tokenizer.parameters())
    latents = tokenizer.encode(x)
    assert torch.equal(tokenizer.decode(Latents(codes=latents.codes)), tokenizer.decode(latents))


def test_the_added_regulariser_works_in_every_modality(signal: SignalSpec) -> None:
    code = example("regularisers.md", "python")
    assert len(code.splitlines()) < 40
    exec(compile(code, "docs/regularisers.md", "exec", dont_inherit=True), {"__name__": "example"})
    config = resolve("ae", signal, {"regularisers": {"smooth": 0.5}, "channels": 4, "width": 8})
    tokenizer = build(config)
    x = torch.randn(2, signal.channels, *signal.shape)
    tokenizer.prepare([x])
    losses = tokenizer.losses(x, player="model", step=0, steps=1)
    values = tokenizer.encode(x).values
    assert values is not None
    roughness = sum(values.diff(dim=axis).square().mean() for axis in range(2, values.ndim)) / values.var()
    torch.testing.assert_close(losses["smooth"], 0.5 * roughness)


def test_the_python_example(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example("tokenizers.md", "python"), "docs/tokenizers.md", "exec", dont_inherit=True), {})
    assert capsys.readouterr().out.startswith("(8, 8) 8 ")


def test_the_recipe_example(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(example("tokenizers.md", "toml", having="title = "), encoding="utf-8")
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(8, 16, 16), rate=8.0)
    config = resolve(str(path), signal, {})
    assert config.spec.grid.shape == (4, 2, 2)
    assert config.to_json()["bottleneck"]["beta"] == 1e-3
    assert config.to_json()["backbone"]["width"] == 64


def test_the_page_lists_every_recipe() -> None:
    page = (DOCS / "tokenizers.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z0-9-]+)` \| [AB]\d", page, re.MULTILINE)) == recipe_names()


def test_the_page_lists_every_bottleneck() -> None:
    page = (DOCS / "bottlenecks.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z0-9_]+)` \|", page, re.MULTILINE)) == BOTTLENECKS.names()


def test_the_page_lists_every_regulariser() -> None:
    page = (DOCS / "regularisers.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z0-9_]+)` \| [AB]\d", page, re.MULTILINE)) == REGULARISERS.names()
