"""Every recipe in every modality: shapes, gradients, codes and values, determinism, cost.

Shapes are checked for all of both. Gradients and cost are, of every recipe, for one modality whose grids have two axes
(an image, a spectrogram) and for one other, in turn; the remaining pairs are slow tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.bench.flops import counter
from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import with_noise
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

Sample = Callable[..., Tensor]
# Codecs and recodings have tests of their own.
COMPOSED = [name for name in recipe_names() if not {"codec", "sequence_coding"} & set(load_recipe(name).table)]
MODALITIES = ("image", "video", "spectrogram", "waveform")


def in_turn(recipes: list[str]) -> list[Any]:
    """Parameters `recipe, signal`: every recipe with one kind of grid of two axes and one other, the rest slow."""
    parameters = []
    for index, recipe in enumerate(recipes):
        possible = [kind for kind in MODALITIES if kind in load_recipe(recipe).modalities]
        even, odd = [[kind for kind in possible if kind in group] for group in (MODALITIES[::2], MODALITIES[1::2])]
        fast = {kinds[(index // (1 + place)) % len(kinds)] for place, kinds in enumerate((even, odd)) if kinds}
        for kind in possible:
            marks = () if kind in fast else pytest.mark.slow
            parameters.append(pytest.param(recipe, kind, marks=marks, id=f"{kind}-{recipe}"))
    return parameters


def fitting(recipe: str, signal: SignalSpec) -> SignalSpec:
    """The signal, of 4k + 1 frames where the recipe is for such clips alone."""
    causal = load_recipe(recipe).table.get("backbone", {}).get("causal") and signal.modality is Modality.VIDEO
    return replace(signal, shape=(5, *signal.shape[1:])) if causal else signal


def small(recipe: str, signal: SignalSpec) -> TokenizerConfig:
    """A recipe at a size for tests."""
    if signal.modality not in (modalities := load_recipe(recipe).modalities):
        pytest.skip(f"{recipe} is for {', '.join(modalities)}")
    options: dict[str, object] = {}
    if recipe == "rae":  # its encoder is a net as it is
        options["decoder"] = {"width": 8}
    elif recipe not in ("pca", "linear-ae"):
        options["width"] = 8
    if "vq" in recipe or recipe in ("titok", "nested-dropout", "token-set", "dac", "encodec"):
        options["codebook_size"] = 16
    if recipe in ("rvq", "dac", "encodec"):
        options["bottleneck"] = {"dropout": 0.0}  # a stage left out has no gradient
    return resolve(recipe, signal, options)


@pytest.mark.parametrize("recipe", COMPOSED)
def test_latents_are_what_the_spec_says(recipe: str, signal: SignalSpec, sample: Sample) -> None:
    signal = fitting(recipe, signal)
    config = small(recipe, signal)
    tokenizer, x = build(config), sample(signal)
    tokenizer.on_train_start([x])
    tokenizer.eval()
    with torch.no_grad():
        latents = tokenizer.encode(x)
        decoded = tokenizer.decode(latents)
    grid = tokenizer.spec.grid
    assert tokenizer.spec == config.spec
    assert latents.values is not None
    assert latents.values.shape == (3, grid.channels, *grid.shape)
    assert decoded.shape == x.shape
    assert decoded.isfinite().all()
    if not grid.heads:
        assert latents.codes is None
        return
    assert latents.codes is not None
    assert latents.codes.dtype == torch.int64
    assert latents.codes.shape == (3, grid.heads, *grid.shape)
    assert latents.codes.min() >= 0
    assert (latents.codes.amax((0, *range(2, latents.codes.ndim))) < torch.tensor(grid.codebook_sizes)).all()
    with torch.no_grad():
        rest = tuple(Latents(codes=level.codes) for level in latents.rest)
        assert torch.equal(tokenizer.decode(Latents(codes=latents.codes, rest=rest)), decoded)


@pytest.mark.parametrize(
    ("recipe", "signal"), in_turn([name for name in COMPOSED if name != "pca"]), indirect=["signal"]
)
def test_one_step_gives_every_parameter_a_finite_gradient(recipe: str, signal: SignalSpec, sample: Sample) -> None:
    signal = fitting(recipe, signal)
    tokenizer, x = build(small(recipe, signal)), sample(signal)
    tokenizer.on_train_start([x])
    _wake(tokenizer)
    step = 9 if recipe == "few-step-decoder" else 0  # its student is trained in the second half
    losses = tokenizer.losses(x, group="model", step=step, steps=10)
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    losses["loss"].backward()
    param_groups = tokenizer.param_groups()
    own = {p.data_ptr() for p in param_groups.pop("model")}
    apart = {p.data_ptr() for parameters in param_groups.values() for p in parameters}
    assert own | apart == {p.data_ptr() for p in tokenizer.parameters() if p.requires_grad}
    assert not own & apart
    for name, parameter in tokenizer.named_parameters():
        if parameter.data_ptr() in apart or (name.startswith("auxiliary_objectives.") and not parameter.requires_grad):
            continue  # of another parameter group, or of an objective that is not trained
        if recipe in ("vq-vae-ema", "semantic-vq", "encodec") and name.endswith("codebook"):
            assert not parameter.requires_grad
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    tokenizer.after_step(step=0, steps=10)
    assert all(value.isfinite().all() for value in tokenizer.state_dict().values())


def _wake(tokenizer: torch.nn.Module) -> None:
    """Moves parameters that start at zero, behind which gradients would be exactly zero."""
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.05)


def test_the_loss_is_the_sum_of_what_is_logged(image: SignalSpec, sample: Sample) -> None:
    tokenizer = build(resolve("vq-vae", image, {"width": 8, "losses": {"l1": 0.5, "l2": 2.0}}))
    losses = dict(tokenizer.losses(sample(image), group="model", step=0, steps=1))
    assert set(losses) == {"loss", "l1", "l2", "commitment", "codebook"}
    loss = losses.pop("loss")
    assert loss.item() == pytest.approx(sum(value.item() for value in losses.values()), rel=1e-6)


@pytest.mark.parametrize("recipe", ["kl-vae", "vq-vae", "fsq"])
def test_equal_seeds_give_equal_weights_and_losses(recipe: str, image: SignalSpec, sample: Sample) -> None:
    x, results = sample(image), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        tokenizer = build(resolve(recipe, image, {"width": 8}))
        tokenizer.on_train_start([x])
        loss = tokenizer.losses(x, group="model", step=0, steps=1)["loss"].detach()
        results.append((tokenizer.state_dict(), loss))
    (first, loss), (again, same), (other, _) = results
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(loss, same)


@pytest.mark.parametrize(("recipe", "signal"), in_turn(COMPOSED), indirect=["signal"])
def test_cost_as_arithmetic_is_the_cost_as_counted(recipe: str, signal: SignalSpec, sample: Sample) -> None:
    signal = fitting(recipe, signal)
    config = small(recipe, signal)
    tokenizer = build(config).eval()
    tokenizer.drop_training_modules()  # training-only modules are not the tokenizer's
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    with counter() as counted, torch.no_grad():
        tokenizer.decode(tokenizer.encode(sample(signal, 2)))
    assert config.estimate_flops() == pytest.approx(counted.get_total_flops() / 2, rel=0.02)


def test_a_state_dict_restores_the_tokenizer(image: SignalSpec, sample: Sample) -> None:
    config, x = resolve("vq-vae-ema", image, {"width": 8}), sample(image)
    first, second = build(config), build(config)
    first.on_train_start([x])
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first.eval().decode(first.encode(x)), second.eval().decode(second.encode(x)))


def test_another_decoder(image: SignalSpec, sample: Sample) -> None:
    config = resolve("pca", image, {"bottleneck": {"solve": "trained"}, "decoder": {"kind": "conv", "width": 8}})
    tokenizer, x = build(config), sample(image)
    assert tokenizer.decode(tokenizer.encode(x)).shape == x.shape
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    optimizer, losses = AdamW(tokenizer.parameters(), lr=1e-2), []
    for step in range(30):
        optimizer.zero_grad()
        losses.append(tokenizer.losses(x, group="model", step=step, steps=30)["loss"])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.6 * losses[0]  # the linear encoder and the convolutional decoder learn together


@pytest.mark.parametrize("downsample", [[6, 10], [1, 1], [5, 3], [2, 30]])
def test_factors_need_not_be_powers_of_two(downsample: list[int]) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(30, 30))
    tokenizer = build(resolve("ae", signal, {"downsample": downsample, "width": 8}))
    x = torch.randn(2, 1, 30, 30)
    latents = tokenizer.encode(x)
    assert latents.values is not None
    assert latents.values.shape[2:] == tuple(30 // factor for factor in downsample)
    assert tokenizer.decode(latents).shape == x.shape


def test_latent_noise_is_relative_to_each_channel_and_for_training_alone(image: SignalSpec, sample: Sample) -> None:
    values = torch.randn(64, 2, 30, 30) * torch.tensor([1.0, 100.0]).view(1, 2, 1, 1) + 7
    noise = with_noise(values, 0.3) - values
    assert (noise.std((0, 2, 3)) / values.std((0, 2, 3))).tolist() == pytest.approx([0.3, 0.3], rel=0.02)
    tokenizer, x = build(resolve("ae", image, {"width": 8, "latent_noise": 0.5})), sample(image)
    tokenizer.on_train_start([x])
    losses = [tokenizer.losses(x, group="model", step=0, steps=1)["loss"].item() for _ in range(2)]
    assert losses[0] != losses[1]
    tokenizer.eval()
    losses += [tokenizer.losses(x, group="model", step=0, steps=1)["loss"].item() for _ in range(2)]
    assert losses[2] == losses[3] < min(losses[:2])
    with torch.no_grad():
        assert torch.equal(tokenizer.decode(tokenizer.encode(x)), tokenizer.decode(tokenizer.encode(x)))


def test_codes_do_not_depend_on_autocast(image: SignalSpec) -> None:
    tokenizer = build(resolve("fsq", image, {"width": 8})).eval()
    seen: list[torch.dtype] = []
    tokenizer.bottleneck.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))  # type: ignore[operator,union-attr]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = tokenizer.losses(torch.randn(2, 3, 16, 24), group="model", step=0, steps=1)
    assert seen == [torch.float32]
    assert losses["loss"].dtype == torch.float32


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_perceptual_loss_is_trained_on_but_not_saved(
    kind: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch, sample: Sample
) -> None:
    pytest.importorskip("lpips")
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(shared_data / "weights"))
    shape, rank = {"image": ((16, 24), Modality.IMAGE), "video": ((4, 16, 8), Modality.VIDEO)}[kind]
    signal = SignalSpec(modality=rank, channels=3, shape=shape)
    config = resolve("ae", signal, {"width": 8, "losses": {"lpips": 1.0}})
    tokenizer = build(config)
    losses = tokenizer.losses(sample(signal), group="model", step=0, steps=1)
    losses["loss"].backward()
    assert losses["lpips"] > 0.1
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    assert not any("lpips" in key or "_net" in key for key in tokenizer.state_dict())


def test_missing_perceptual_weights_are_named(
    image: SignalSpec, sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", "")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    tokenizer = build(resolve("ae", image, {"width": 8, "losses": {"lpips": 1.0}}))
    with pytest.raises(UserError, match=r"losses.lpips: weights 'alexnet_lpips' not found"):
        tokenizer.losses(sample(image), group="model", step=0, steps=1)
