"""docs/tokenizers.md and the pages of its parts keep their word: examples run, tables are complete."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.auxiliary.config import AUXILIARY
from latentbench.tokenizers.backbones.config import BACKBONES
from latentbench.tokenizers.bottlenecks.config import BOTTLENECKS
from latentbench.tokenizers.build import build
from latentbench.tokenizers.codecs.config import CODECS
from latentbench.tokenizers.corruptions.config import CORRUPTIONS
from latentbench.tokenizers.diffusion_decoders.config import DIFFUSION_DECODERS
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.losses.config import LOSSES
from latentbench.tokenizers.optimisers import Adam
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.regularisers.config import REGULARISERS
from latentbench.tokenizers.scrambles.config import SCRAMBLES
from latentbench.tokenizers.sequence_coding.config import SEQUENCE_CODINGS
from latentbench.tokenizers.spec import Modality, SignalSpec

DOCS = Path(__file__).parents[2] / "docs"


def example(page: str, language: str, having: str = "") -> str:
    """The page's one block in that language, of those with the text `having`."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [text for text in blocks if having in text]
    return block


def add(page: str) -> dict[str, Any]:
    """Runs the page's example, which registers a part (for this test alone: see `_registries`), and gives its names."""
    code = example(page, "python")
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, f"docs/{page}", "exec", dont_inherit=True), namespace)
    return namespace


def draw(signal: SignalSpec) -> Tensor:
    return torch.tanh(torch.randn(2, signal.channels, *signal.shape))


def test_the_added_backbone_works_in_every_modality(signal: SignalSpec) -> None:
    add("backbones.md")
    config = resolve("vq-vae", signal, {"backbone": {"kind": "patch_mlp", "width": 16}, "codebook_size": 16})
    tokenizer = build(config)
    assert sum(p.numel() for p in tokenizer.parameters()) == config.estimate_parameters()
    x = draw(signal)
    optimiser = Adam(tokenizer.param_groups()["model"], lr=1e-2)
    before = tokenizer.losses(x, group="model", step=0, steps=2)
    before["loss"].backward()
    assert all(p.grad is not None for p in tokenizer.parameters())
    optimiser.step()
    assert tokenizer.losses(x, group="model", step=1, steps=2)["l1"] < before["l1"]
    assert tokenizer.decode(tokenizer.encode(x)).shape == x.shape
    as_decoder = build(resolve("ae", signal, {"decoder": {"kind": "patch_mlp"}, "channels": 4, "width": 8}))
    assert as_decoder.decode(as_decoder.encode(x)).shape == x.shape


def test_the_added_loss_works_in_every_modality(signal: SignalSpec) -> None:
    add("losses.md")
    config = resolve("ae", signal, {"losses": {"edges": 0.5}, "channels": 4, "width": 8})
    tokenizer = build(config)
    x = draw(signal)
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    losses["loss"].backward()
    assert all(p.grad is not None for p in tokenizer.parameters())
    error = tokenizer.decode(tokenizer.encode(x)) - x
    rough = sum(
        (error.roll(-1, axis) - error).narrow(axis, 0, error.shape[axis] - 1).abs().mean() for axis in range(2, x.ndim)
    )
    torch.testing.assert_close(losses["edges"], 0.5 * rough.detach())


def test_the_added_decoder_works_in_every_modality(signal: SignalSpec) -> None:
    add("diffusion_decoders.md")
    config = resolve("kl-vae", signal, {"diffusion_decoder": {"kind": "gaussian"}, "channels": 4, "width": 8})
    tokenizer = build(config)
    assert sum(p.numel() for p in tokenizer.parameters()) == config.estimate_parameters()
    x = draw(signal)
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    assert all(p.grad is not None for p in tokenizer.parameters())
    latents = tokenizer.encode(x)
    condition = tokenizer.operating_points()["steps_0"](latents)
    noise = tokenizer.decode(latents) - condition
    torch.testing.assert_close(noise[0], noise[1], atol=1e-5, rtol=0)
    assert 0.8 < noise.std() < 1.2
    # The loss is least where the deviation is that of the error.
    decoder = tokenizer.diffusion_decoder
    error = (x - condition).detach()
    with torch.no_grad():
        decoder.log_std.copy_(error.square().mean((0, *range(2, x.ndim))).log().view_as(decoder.log_std) / 2)
    decoder.zero_grad()
    decoder.losses(x, condition.detach(), step=0, steps=1)["gaussian"].backward()
    torch.testing.assert_close(decoder.log_std.grad, torch.zeros_like(decoder.log_std), atol=1e-5, rtol=0)


def test_the_added_corruption_works_in_every_modality(signal: SignalSpec) -> None:
    add("corruptions.md")
    options = {"corruption": {"kind": "contrast", "sigma": 0.5}, "channels": 4, "width": 8}
    tokenizer = build(resolve("denoising-ae", signal, options))
    x, read = draw(signal), []
    tokenizer.encoder.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    tokenizer.train()
    torch.manual_seed(1)
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    tokenizer.eval()
    tokenizer.encode(x)
    torch.manual_seed(1)
    gains = torch.exp(0.5 * torch.randn(2)).view(2, *(1,) * (x.ndim - 1))
    torch.testing.assert_close(read[0], x * gains)
    assert torch.equal(read[1], x)


def test_the_added_codec_works_in_every_modality(signal: SignalSpec) -> None:
    add("codecs.md")
    config = resolve("identity", signal, {"codec": {"kind": "pcm", "bits": 6}})
    assert config.spec.grid.bits == 6 * signal.elements
    tokenizer = build(config)
    x = draw(signal)
    latents = tokenizer.encode(x)
    assert latents.codes is not None
    assert latents.codes.shape == x.shape
    assert 0 <= latents.codes.min() <= latents.codes.max() < 64
    decoded = tokenizer.decode(Latents(codes=latents.codes))
    assert torch.equal(decoded, tokenizer.decode(latents))
    assert torch.equal(tokenizer.encode(decoded).codes, latents.codes)
    assert (decoded - x).abs().max() <= 1 / 63 + 1e-6


def test_the_added_sequence_coding_works_in_every_modality(signal: SignalSpec) -> None:
    add("sequence_coding.md")
    config = resolve(
        "multi-head-vq", signal, {"sequence_coding": {"kind": "trim"}, "heads": 2, "codebook_size": 4, "width": 8}
    )
    assert config.spec.grid.variable
    tokenizer = build(config)
    x = draw(signal)
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    tokenizer.on_train_end([x])
    inner = tokenizer.inner.encode(x)
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(x)), tokenizer.inner.decode(inner))
    codes = inner.codes.clone()
    positions = codes[0, 0].numel()
    codes[0] = 3
    codes[1].view(2, -1)[:, positions // 2 :] = torch.tensor([[1], [2]])
    codes[1].view(2, -1)[1, positions // 2 - 1] = 0
    sequences, lengths = tokenizer.sequence_coding.encode_codes(codes)
    assert lengths.tolist() == [1, positions // 2 + 1]
    assert not sequences[0, :, 1:].any()
    assert torch.equal(tokenizer.sequence_coding.decode_codes(sequences, lengths)[0], codes)


# Options by which an example is used, and the recipes that the page (or the recipe's own needs) leaves out.
# recipes with objectives that judge decoded signals
JUDGED = {"vqgan", "eq-vae", "encodec", "dac", "stable-audio-vae", "af-vae", "se-vae", "spectrum-matched-vae"}
USED = {
    "backbones.md": (
        {"backbone": {"kind": "patch_mlp"}},
        {"pca", "nested-dropout", "adaptive-length", "rae", "se-vae"},
    ),
    "bottlenecks.md": (
        {"bottleneck": {"kind": "sign"}, "channels": 8},
        {"af-vae", "repa-e", "se-vae", "spectrum-matched-vae"},
    ),
    "losses.md": ({"losses": {"edges": 0.5}}, set()),
    "diffusion_decoders.md": ({"diffusion_decoder": {"kind": "gaussian"}}, JUDGED),
    "auxiliary.md": ({"auxiliary": {"mean": 0.1}}, {"vq-vae-2"}),
    "regularisers.md": ({"regularisers": {"smooth": 0.1}}, {"token-set"}),
    "corruptions.md": ({"corruption": {"kind": "contrast"}}, set()),
    "sequence_coding.md": ({"sequence_coding": {"kind": "trim"}}, {"token-set", "vq-vae-2"}),
}


@pytest.mark.parametrize("page", USED)
def test_the_added_part_works_in_the_recipes_that_its_page_says(page: str, image: SignalSpec) -> None:
    add(page)
    options, left_out = USED[page]
    sound = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0)
    refused = set()
    for name in recipe_names():
        signal = image if Modality.IMAGE in load_recipe(name).modalities else sound
        if signal.modality not in load_recipe(name).modalities or "codec" in load_recipe(name).table:
            continue
        start = {"channels": 4} if name in ("pca", "linear-ae") or "channels" in str(_refusal(name, signal, {})) else {}
        assert _refusal(name, signal, start) is None
        discrete = resolve(name, signal, start).spec.discrete
        if (discrete or page != "sequence_coding.md") and _refusal(name, signal, {**start, **options}):
            refused.add(name)
    assert refused == left_out


def _refusal(name: str, signal: SignalSpec, options: dict[str, Any]) -> UserError | None:
    try:
        resolve(name, signal, options)
    except UserError as error:
        return error
    return None


def test_the_added_bottleneck_works_in_every_modality(signal: SignalSpec) -> None:
    add("bottlenecks.md")
    config = resolve("vq-vae", signal, {"bottleneck": {"kind": "sign"}, "channels": 8, "width": 8})
    assert config.spec.grid.codebook_sizes == (256,)
    tokenizer = build(config)
    x = torch.randn(2, signal.channels, *signal.shape)
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    assert all(p.grad is not None for p in tokenizer.parameters())
    latents = tokenizer.encode(x)
    assert torch.equal(tokenizer.decode(Latents(codes=latents.codes)), tokenizer.decode(latents))


def test_the_added_objective_works_in_every_modality(signal: SignalSpec) -> None:
    add("auxiliary.md")
    tokenizer = build(resolve("ae", signal, {"auxiliary": {"mean": 0.5}, "channels": 4, "width": 8}))
    x = draw(signal)
    tokenizer.on_train_start([x])
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    head = tokenizer.auxiliary_objectives["mean"].head
    predicted = head(tokenizer.encode(x).values.flatten(2).mean(2))
    torch.testing.assert_close(losses["mean"], 0.5 * (predicted - x.flatten(2).mean(2)).square().mean())
    losses["loss"].backward()
    assert head.weight.grad.abs().max() > 0
    tokenizer.drop_training_modules()
    assert not list(tokenizer.auxiliary_objectives)


def test_the_added_regulariser_works_in_every_modality(signal: SignalSpec) -> None:
    add("regularisers.md")
    config = resolve("ae", signal, {"regularisers": {"smooth": 0.5}, "channels": 4, "width": 8})
    tokenizer = build(config)
    x = torch.randn(2, signal.channels, *signal.shape)
    tokenizer.on_train_start([x])
    losses = tokenizer.losses(x, group="model", step=0, steps=1)
    values = tokenizer.encode(x).values
    assert values is not None
    roughness = sum(values.diff(dim=axis).square().mean() for axis in range(2, values.ndim)) / values.var()
    torch.testing.assert_close(losses["smooth"], 0.5 * roughness)


@pytest.mark.parametrize(("having", "printed"), [("kl-vae", "(8, 8) 8 "), ("decode_pieces", "81\n")])
def test_the_python_examples(having: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(example("tokenizers.md", "python", having), "docs/tokenizers.md", "exec", dont_inherit=True), {})
    assert capsys.readouterr().out.startswith(printed)


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
    assert (
        sorted(re.findall(r"^\| `([a-z0-9-]+)` \| \[[^|]*\([AB]\d+\)\]\(systems\.md#", page, re.MULTILINE))
        == recipe_names()
    )


PARTS = {
    "backbones.md": BACKBONES,
    "bottlenecks.md": BOTTLENECKS,
    "losses.md": LOSSES,
    "diffusion_decoders.md": DIFFUSION_DECODERS,
    "auxiliary.md": AUXILIARY,
    "regularisers.md": REGULARISERS,
    "corruptions.md": CORRUPTIONS,
    "codecs.md": CODECS,
    "scrambles.md": SCRAMBLES,
    "sequence_coding.md": SEQUENCE_CODINGS,
}


@pytest.mark.parametrize("page", PARTS)
def test_the_page_has_every_part_with_its_options_and_defaults(page: str) -> None:
    registry = PARTS[page]
    rows = _parts(page)
    assert sorted(rows) == registry.names()
    for kind in registry.names():
        stated, weight = _options(rows[kind], rows)
        config = registry.get(kind)
        expected = {field.name: field.default for field in fields(config)}
        if page in ("losses.md", "auxiliary.md", "regularisers.md"):  # whose weight the table's heading has
            assert expected.pop("weight") == weight
        if page == "scrambles.md":  # the seed, which all have, is told below the table
            assert expected.pop("seed") == 0
        assert {name: value for name, (value, _) in stated.items()} == {
            name: list(value) if isinstance(value, tuple) else value for name, value in expected.items()
        }, kind
        hints = get_type_hints(config)
        for name, (_, choices) in stated.items():
            if get_origin(hints[name]) is Literal:
                assert sorted(choices) == sorted(get_args(hints[name])), f"{kind}.{name}"


def _parts(page: str) -> dict[str, str]:
    """The last cell of each row of the page's table of options, by kind."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| .*\| options[^|]*\|\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    return {row[0].strip("`"): row[-1] for row in rows}


def _options(cell: str, rows: dict[str, str]) -> tuple[dict[str, tuple[Any, list[str]]], float]:
    """Options of a table's cell with default and choices, and the weight by default.

    A default is written `name` (2), `name` ("first choice", "second"), `name` ([8, 8]: what that means) or
    `name` (unset: what then holds). "those of `other`" stands for the options of another row.
    """
    sections: dict[str, tuple[Any, list[str]]] = {}
    other = re.search(r"those of `(\w+)`", cell)
    if other:
        sections |= _options(rows[other[1]], rows)[0]
    for name, text in re.findall(r"`(\w+)` \(([^()]*)\)", cell):
        default = text.split(":")[0]
        choices = re.findall(r'"(\w[\w-]*)"', default)
        sections[name] = (None if default == "unset" else choices[0] if choices else json.loads(default), choices)
    weight = re.search(r"^`weight` ([\d.]+);", cell)
    return sections, float(weight[1]) if weight else 1.0


def test_the_tokenizers_page_leads_to_every_part() -> None:
    page = (DOCS / "tokenizers.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[`\w+`\]\(([\w.]+)\) \|", page, re.MULTILINE)) == sorted(PARTS)
