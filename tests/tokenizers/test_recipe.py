"""Recipes: what is shipped, how options are laid over them, geometry, and what a mistake says."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

# Recipes that are not for every modality.
AT_HOME = {
    "jpeg": (Modality.IMAGE, Modality.SPECTROGRAM),
    "h264": (Modality.VIDEO,),
    "opus": (Modality.WAVEFORM,),
    **dict.fromkeys(("h265", "vp9", "av1"), (Modality.VIDEO,)),
    **dict.fromkeys(("mp3", "aac"), (Modality.WAVEFORM,)),
    **dict.fromkeys(("video-vae", "causal-video-vae", "framewise-vae", "video-fsq"), (Modality.VIDEO,)),
    "encodec": (Modality.WAVEFORM,),
    "dac": (Modality.WAVEFORM,),
    "stable-audio-vae": (Modality.WAVEFORM,),
    "slow-vq": (Modality.WAVEFORM, Modality.SPECTROGRAM),
}
NEED_64_PIXELS = ("h265", "av1")
NEED_5_FRAMES = ("causal-video-vae", "video-fsq")
PHOTO = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(256, 256))


def test_every_recipe_says_what_it_is() -> None:
    assert set(recipe_names()) >= {"ae", "fsq", "identity", "jpeg", "kl-vae", "pca", "vq-vae", "vq-vae-bpe"}
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.title, name
        assert recipe.claim, name
        assert recipe.systems, name
        assert recipe.modalities == AT_HOME.get(name, tuple(Modality)), name


@pytest.mark.parametrize("name", recipe_names())
def test_a_configuration_survives_json(name: str, signal: SignalSpec) -> None:
    if signal.modality not in load_recipe(name).modalities:
        pytest.skip(f"{name} is not for {signal.modality}")
    if name in NEED_64_PIXELS:
        signal = dataclasses.replace(signal, shape=(signal.shape[0], 64, 64))
    if name in NEED_5_FRAMES:
        signal = dataclasses.replace(signal, shape=(5, *signal.shape[1:]))
    config = resolve(name, signal, {"training": {"lr": 1e-4}})
    data = config.to_json()
    assert TokenizerConfig.from_json(json.loads(json.dumps(data))) == config
    assert json.dumps(data) == json.dumps(TokenizerConfig.from_json(data).to_json())


@pytest.mark.parametrize(
    ("options", "shape", "channels"),
    [
        ({"downsample": 8, "tsr": 24}, (32, 32), 8),
        ({"downsample": 16, "tsr": 24}, (16, 16), 32),
        ({"downsample": 8, "channels": 8}, (32, 32), 8),
        ({"downsample": 8, "channels": 8, "tsr": 24}, (32, 32), 8),
        ({"downsample": [4, 8], "tsr": 12}, (64, 32), 8),
        ({"downsample": 1, "tsr": 1}, (256, 256), 3),
    ],
)
def test_a_tsr_is_solved_for_channels(options: dict[str, Any], shape: tuple[int, ...], channels: int) -> None:
    config = resolve("kl-vae", PHOTO, options)
    assert config.spec.grid.shape == shape
    assert config.channels == channels
    assert config.spec.tsr == 196608 / (channels * shape[0] * shape[1])


def test_a_tsr_is_solved_for_heads() -> None:
    spec = resolve("multi-head-vq", PHOTO, {"downsample": 8, "tsr": 24, "codebook_size": 1024}).spec
    assert spec.grid.codebook_sizes == (1024,) * 8
    assert spec.bits_per_sample == 32 * 32 * 8 * 10
    assert spec.tsr == 24
    single = resolve("vq-vae", PHOTO, {"downsample": 8, "tsr": 192, "codebook": 512}).spec
    assert single.bits_per_sample == 32 * 32 * 9


@pytest.mark.parametrize(
    ("recipe", "options", "codes"),
    [
        ("rvq", {"kbps": 3, "codebook_size": 1024}, 6),
        ("dac", {"kbps": 1.5, "codebook_size": 1024}, 3),
        ("encodec", {"kbps": 2}, 5),
        ("multi-head-vq", {"kbps": 1.2, "codebook_size": 64}, 4),
        ("lfq", {"kbps": 0.8}, 2),
        ("fsq", {"kbps": 0.3954, "downsample": 320}, 1),  # it has no choice, and agrees
    ],
)
def test_a_bitrate_is_solved_for_codes_per_position(recipe: str, options: dict[str, Any], codes: int) -> None:
    sound = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(32000,), rate=16000.0)
    spec = resolve(recipe, sound, {"downsample": 320, **options}).spec
    assert spec.grid.heads == codes
    assert spec.bits_per_sample / 2 / 1000 == pytest.approx(options["kbps"], rel=5e-4)


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (
            "rvq",
            {"kbps": 3.1},
            r"^t.kbps: kbps 3.1 is no whole number of levels; .*: 2.8 \(7 levels\) or 3.2 \(8 levels\)$",
        ),
        ("rvq", {"kbps": 0.1}, r"nearest possible: 0.4 \(1 levels\)$"),
        ("rvq", {"kbps": 3, "levels": 5}, "does not agree with its codes at 100 positions, which gives 2$"),
        ("fsq", {"kbps": 1}, "does not agree"),
        ("rvq", {"kbps": 3, "tsr": 4}, "a bitrate or a tsr, not both"),
        ("kl-vae", {"kbps": 3}, "is of codes"),
        ("rvq", {"kbps": 0}, r"t.kbps: expected a number > 0, got 0"),
    ],
)
def test_an_impossible_bitrate_names_possible_ones(recipe: str, options: dict[str, Any], message: str) -> None:
    sound = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(32000,), rate=16000.0)
    with pytest.raises(UserError, match=message):
        resolve(recipe, sound, {"downsample": 320, **options}, where="t")


def test_a_picture_has_no_bitrate() -> None:
    with pytest.raises(UserError, match="a picture has no duration; give tsr"):
        resolve("rvq", PHOTO, {"downsample": 8, "kbps": 3})


def test_a_spectrogram_is_counted_against_its_waveform() -> None:
    signal = SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=1,
        shape=(64, 64),
        rate=16000.0,
        mel=MelSpec(sample_rate=16000),
        source_shape=(1, 16384),
    )
    config = resolve("ae", signal, {"downsample": 8, "tsr": 64})
    assert config.channels == 4
    assert config.spec.tsr_input == 16


def test_what_a_later_layer_says_replaces_what_it_decides() -> None:
    assert resolve("kl-vae", PHOTO, {"tsr": 48, "downsample": 8}).channels == 4
    assert resolve("multi-head-vq", PHOTO, {"tsr": 96, "downsample": 8}).bottleneck.heads == 2  # type: ignore[attr-defined]


def test_options_reach_their_parts(image: SignalSpec) -> None:
    config = resolve(
        "vq-vae",
        image,
        {"width": 8, "codebook_size": 32, "decoder": {"width": 24}, "losses": {"l2": 0.5}, "training": {"steps": 7}},
    )
    assert config.backbone.width == 8  # type: ignore[attr-defined]
    assert config.decoder is not None
    assert config.decoder.width == 24  # type: ignore[attr-defined]
    assert config.bottleneck.codebook_size == 32  # type: ignore[attr-defined]
    assert {term.kind: term.weight for term in config.losses} == {"l1": 1.0, "l2": 0.5}
    assert config.training.steps == 7


def test_another_kind_drops_the_options_of_the_first(image: SignalSpec) -> None:
    config = resolve("vq-vae", image, {"bottleneck": {"kind": "kl", "beta": 0.1}, "channels": 2})
    assert config.to_json()["bottleneck"] == {"kind": "kl", "beta": 0.1, "initial_logvar": -6.0}


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("klvae", {}, "t.recipe: unknown recipe 'klvae'; did you mean 'kl-vae'?"),
        ("kl-vae", {"chanels": 4}, "t: unknown option 'chanels'; did you mean 'channels'?"),
        ("kl-vae", {"bottleneck": {"beat": 1.0}}, "t.bottleneck: beat: unknown key; did you mean 'beta'?"),
        ("kl-vae", {"bottleneck": {"kind": "kll"}}, "t.bottleneck.kind: unknown bottleneck 'kll'; did you mean 'kl'?"),
        ("kl-vae", {"backbone": {"width": "32"}}, 't.backbone: width: input should be a valid integer, got "32"'),
        ("kl-vae", {"codebook_size": 64}, "t.bottleneck: codebook_size: unknown key; known: beta, initial_logvar"),
        ("kl-vae", {"channels": 1.5}, "t.channels: expected a whole number >= 1, got 1.5"),
        ("kl-vae", {"channels": 0}, "t.channels: expected a whole number >= 1, got 0"),
        ("kl-vae", {"tsr": "24"}, "t.tsr: expected a number > 0, got '24'"),
        ("kl-vae", {"tsr": 0}, "t.tsr: expected a number > 0, got 0"),
        ("kl-vae", {"downsample": 0}, "t.downsample: expected a whole number >= 1, or a list of them, got 0"),
        ("kl-vae", {"downsample": [4, 4, 4]}, "t.downsample: image has 2 axes (height, width), got [4, 4, 4]"),
        (
            "kl-vae",
            {"downsample": 12},
            (
                "t.downsample: downsample 12 does not divide the signal's height 256; "
                "nearest sizes that it divides: 252 or 264; nearest factors of 256: 8 or 16"
            ),
        ),
        (
            "kl-vae",
            {"downsample": 8, "tsr": 25},
            (
                "t.tsr: tsr 25 needs 7.68 channels on 32x32 latent positions of a signal of 196608 elements; "
                "nearest possible: 27.4286 (7 channels) or 24 (8 channels)"
            ),
        ),
        (
            "kl-vae",
            {"downsample": 8, "tsr": 1000},
            (
                "t.tsr: tsr 1000 needs 0.192 channels on 32x32 latent positions of a signal of 196608 elements; "
                "nearest possible: 192 (1 channels)"
            ),
        ),
        (
            "pca",
            {"downsample": 4, "tsr": 0.5},
            (
                "t.tsr: tsr 0.5 needs 96 channels on 64x64 latent positions of a signal of 196608 elements; "
                "nearest possible: 1 (48 channels)"
            ),
        ),
        (
            "kl-vae",
            {"downsample": 8, "tsr": 24, "channels": 4},
            "t.tsr: tsr 24 does not agree with channels = 4 at 32x32 positions, which gives 48",
        ),
        (
            "multi-head-vq",
            {"downsample": 8, "tsr": 25},
            (
                "t.tsr: tsr 25 needs 7.68 heads on 32x32 latent positions of a signal of 196608 elements; "
                "nearest possible: 27.4286 (7 heads) or 24 (8 heads)"
            ),
        ),
        (
            "vq-vae",
            {"downsample": 8, "tsr": 24},
            "t.tsr: tsr 24 does not agree with 1 code per position at 32x32 positions, which gives 192",
        ),
        (
            "multi-head-vq",
            {"heads": 3, "channels": 8},
            "t.bottleneck: channels 8 is not divisible by heads 3; nearest: 6 or 9",
        ),
        ("fsq", {"channels": 4}, "t.bottleneck: channels 4 must be 3, one per entry of levels [8, 6, 5]"),
        ("pca", {"channels": 49}, "t.bottleneck: a linear bottleneck keeps at most the backbone's 48 features, not 49"),
        (
            "pca",
            {"backbone": {"kind": "conv"}},
            't.bottleneck: solve = "closed-form" needs backbone "patch": PCA of \'conv\' is no autoencoder',
        ),
        ("kl-vae", {"losses": {"stft": 1.0}}, "t.losses.stft: defined for waveform, not image"),
        ("kl-vae", {"losses": {"lpipz": 1.0}}, "t.losses: unknown loss 'lpipz'; did you mean 'lpips'?"),
        (
            "kl-vae",
            {"losses": {"l1": 0.0}},
            (
                "t.losses: no loss has a weight above 0; "
                "known: dwt, huber, l1, l2, logit_laplace, lpips, mel, mel_scales, stft"
            ),
        ),
        ("kl-vae", {"losses": {"l1": -1.0}}, "t.losses.l1: weight must not be negative"),
        (
            "kl-vae",
            {"losses": {"l1": {"kind": "l2"}}},
            "t.losses.l1.kind: it is 'l1', as the table's name says, and not 'l2'",
        ),
        (
            "kl-vae",
            {"regularisers": {"equivariance": {"kind": "alignment"}, "alignment": 1.0}},
            "t.regularisers.equivariance.kind: it is 'equivariance', as the table's name says, and not 'alignment'",
        ),
        ("kl-vae", {"decoder": {"kind": ["diffusion"]}}, "t.decoder.kind: expected a name, got ['diffusion']"),
        ("kl-vae", {"training": {"step": 3}}, "t.training: step: unknown key; did you mean 'steps'?"),
        ("kl-vae", {"bottleneck": 3}, "t.bottleneck: expected a table, got 3"),
        ("vq-vae", {"codebook": 8, "codebook_size": 8}, "t.codebook_size: the same as bottleneck.codebook_size"),
        ("nowhere.toml", {}, "t.recipe: no recipe file 'nowhere.toml'"),
    ],
)
def test_a_mistake_gets_one_line(recipe: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(recipe, PHOTO, options, where="t")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_tsr_as_printed_is_accepted() -> None:
    assert resolve("kl-vae", PHOTO, {"downsample": 8, "tsr": 27.4286}).channels == 7


def test_a_recipe_of_the_users_own(tmp_path: Path, image: SignalSpec) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "kl-vae"\nmodalities = ["image"]\n[bottleneck]\nbeta = 1.0\n[modality.image]\nchannels = 2\n'
    )
    config = resolve(str(path), image, {})
    assert (config.recipe, config.channels) == ("mine", 2)
    assert config.bottleneck.beta == 1.0  # type: ignore[attr-defined]
    sound = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(1024,), rate=16000.0)
    with pytest.raises(UserError, match="'mine' is for image, not waveform"):
        resolve(str(path), sound, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base = 3", "base: expected a text, got 3"),
        ('base = "kl-va"', "unknown recipe 'kl-va'; did you mean 'kl-vae'?"),
        ("title = ", "Invalid value"),
        ('modalities = ["picture"]', "unknown modality 'picture'"),
        ('base = "kl-vae"\n[bottelneck]\nbeta = 1.0', "unknown option 'bottelneck'; did you mean 'bottleneck'?"),
        ("[modality]\nimage = 3", "modality.image: expected a table, got 3"),
        ("", "bottleneck.kind: missing"),
    ],
)
def test_a_broken_recipe_file_gets_one_line(tmp_path: Path, image: SignalSpec, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        resolve(str(path), image, {})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_its_own_base(tmp_path: Path, image: SignalSpec) -> None:
    path = tmp_path / "loop.toml"
    path.write_text(f'base = "{path}"')
    with pytest.raises(UserError, match="its own base"):
        resolve(str(path), image, {})


def test_weights_and_versions(image: SignalSpec) -> None:
    plain = resolve("kl-vae", image, {})
    assert plain.weights() == ()
    assert plain.versions() == {"tokenizer": 1, "backbone.conv": 1, "bottleneck.kl": 1, "loss.l1": 1}
    perceptual = resolve("kl-vae", image, {"losses": {"lpips": 1.0}})
    assert perceptual.weights() == ("alexnet_lpips",)


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from latentbench.tokenizers.recipe import load_recipe, resolve, recipe_names; "
        "from latentbench.tokenizers.spec import Modality, SignalSpec; "
        "s = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32)); "
        "[(resolve(n, s, {}).estimate_flops(), resolve(n, s, {}).spec.tsr) for n in recipe_names() "
        "if s.modality in load_recipe(n).modalities]; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
