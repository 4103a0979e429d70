"""Codecs as configurations: what a recipe may say, spec arithmetic, data in and out, and what stays as it was."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tokenizers.codecs.dct_config import DCTConfig, dct_rows
from latentbench.tokenizers.codecs.jpeg_config import JPEGConfig
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 24))
VIDEO = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 16, 8), rate=8.0)
WAVE = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0)
MEL = SignalSpec(
    modality=Modality.SPECTROGRAM,
    channels=1,
    shape=(16, 8),
    rate=16000.0,
    mel=MelSpec(sample_rate=16000, n_mels=16),
    source_shape=(1, 2048),
)

# What job keys hash of a tokenizer without a codec and a recoding: these tables, in this order, and no others.
KEYS = (
    "recipe",
    "signal",
    "downsample",
    "channels",
    "backbone",
    "bottleneck",
    "decoder",
    "losses",
    "training",
)


@pytest.mark.parametrize("recipe", ["ae", "kl-vae", "vq-vae", "fsq", "pca"])
def test_the_data_of_composed_tokenizers_has_no_word_of_codecs(recipe: str) -> None:
    for signal in (IMAGE, VIDEO, WAVE, MEL):
        config = resolve(recipe, signal, {})
        assert tuple(config.to_json()) == KEYS
        assert {name.split(".")[0] for name in config.versions()} == {
            "tokenizer",
            "backbone",
            "bottleneck",
            "loss",
        }
    recoded = resolve("vq-vae-bpe", IMAGE, {}).to_json()
    del recoded["sequence_coding"]
    assert json.dumps(recoded | {"recipe": "vq-vae"}) == json.dumps(resolve("vq-vae", IMAGE, {}).to_json())


@pytest.mark.parametrize(
    ("recipe", "signal"),
    [("identity", VIDEO), ("dct", WAVE), ("jpeg", IMAGE), ("jpeg", MEL), ("h264", VIDEO), ("opus", WAVE)],
)
def test_a_codec_survives_json_and_says_nothing_of_training(recipe: str, signal: SignalSpec) -> None:
    config = resolve(recipe, signal, {"training": {"steps": 500}})
    data = config.to_json()
    assert set(data) == {"recipe", "signal", "codec"}
    assert TokenizerConfig.from_json(json.loads(json.dumps(data))) == config
    versions = {"h264": 2}
    assert config.versions() == {"tokenizer": 1, f"codec.{recipe}": versions.get(recipe, 1)}
    assert (config.training.steps, config.estimate_parameters(), config.weights()) == (0, 0, ())


def test_identity_has_the_signals_shape() -> None:
    assert resolve("identity", VIDEO, {}).spec.grid.shape == (4, 16, 8)
    assert resolve("identity", VIDEO, {}).spec.tsr == 1
    assert resolve("identity", MEL, {}).spec.tsr == 16  # against the waveform
    assert resolve("identity", MEL, {}).spec.tsr_input == 1


def test_the_longest_stream_is_the_raw_sample_and_a_byte() -> None:
    spec = resolve("jpeg", IMAGE, {}).spec
    assert (spec.grid.shape, spec.grid.codebook_sizes, spec.grid.variable) == ((16 * 24 * 3 + 1,), (256,), True)
    assert spec.topology == "sequence"
    assert spec.bits_per_sample == 8 * (16 * 24 * 3 + 1)
    assert resolve("opus", WAVE, {}).spec.grid.shape == (2 * 2048 + 1,)
    assert resolve("jpeg", IMAGE, {"codec": {"max_bytes": 300}}).spec.grid.shape == (300,)
    assert resolve("jpeg", IMAGE, {"codec": {"max_bytes": 10**6}}).spec.grid.shape == (16 * 24 * 3 + 1,)


def test_dct_codes_are_counted_by_hand() -> None:
    """Blocks of 2 x 1: the mean and the difference, both with basis functions of L1 norm sqrt 2."""
    config = DCTConfig(block=(2, 1), step=0.5, slope=1.0)
    grid = config.grids(IMAGE)[0]
    assert grid.shape == (8, 24)
    mean, difference = (2 * math.floor(math.sqrt(2) / step + 0.5) + 1 for step in (0.5, 1.0))
    assert grid.codebook_sizes == (mean, difference) * 3 == (7, 3) * 3
    assert DCTConfig(block=(2, 1), step=0.5, slope=1.0, keep=1).grids(IMAGE)[0].codebook_sizes == (7,) * 3
    # a step that rounds the difference to 0 leaves it without a code
    assert DCTConfig(block=(2, 1), step=2.0, slope=3.0).grids(IMAGE)[0].codebook_sizes == (3,) * 3
    assert resolve("dct", WAVE, {"codec": {"block": [60]}}).spec.grid.shape == (35,)
    assert resolve("dct", IMAGE, {"codec": {"keep": 4}}).spec.tsr == 16


def test_dct_rows_are_orthonormal() -> None:
    rows = list(dct_rows(5))
    for i, first in enumerate(rows):
        for j, second in enumerate(rows):
            assert sum(a * b for a, b in zip(first, second, strict=True)) == pytest.approx(float(i == j), abs=1e-12)


def test_quality_is_a_short_name() -> None:
    assert resolve("jpeg", IMAGE, {"quality": 30}).codec == JPEGConfig(quality=30)


@pytest.mark.parametrize(
    ("recipe", "signal", "options", "message"),
    [
        ("jpeg", VIDEO, {}, "t.recipe: 'jpeg' is for image, spectrogram, not video"),
        ("jpeg", IMAGE, {"quality": 0}, "t.codec: quality must lie in 1..100"),
        ("jpeg", IMAGE, {"qualty": 1}, "t: unknown option 'qualty'; did you mean 'quality'?"),
        ("jpeg", IMAGE, {"crf": 1}, "t: unknown option 'crf'"),
        ("jpeg", IMAGE, {"codec": {"crf": 1}}, "t.codec: crf: unknown key; known: max_bytes, quality"),
        ("jpeg", IMAGE, {"codec": {"kind": "jpg"}}, "t.codec.kind: unknown codec 'jpg'; did you mean 'jpeg'?"),
        ("jpeg", IMAGE, {"codec": {"kind": "opus"}}, "t.codec: 'opus' is for waveform"),
        ("jpeg", IMAGE, {"downsample": 4}, "t.downsample: a codec is a whole tokenizer, and has none"),
        ("jpeg", IMAGE, {"width": 4}, "t.backbone: a codec is a whole tokenizer, and has none"),
        (
            "jpeg",
            IMAGE,
            {"sequence_coding": {"kind": "bpe"}},
            "t.sequence_coding: a codec is a whole tokenizer, and has none",
        ),
        ("dct", IMAGE, {"codec": {"block": [8]}}, "t.codec: block [8] must have one entry per axis of image"),
        ("dct", IMAGE, {"codec": {"step": 100.0}}, "t.codec: step 100 rounds every coefficient to 0"),
        ("h264", VIDEO, {"codec": {"crf": 60}}, "t.codec: crf must lie in 0..51"),
        ("opus", WAVE, {"codec": {"bitrate": 100}}, "t.codec: bitrate must lie in 6000..256000 bits per second"),
    ],
)
def test_a_mistake_gets_one_line(recipe: str, signal: SignalSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(recipe, signal, options, where="t")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_signal_that_a_codec_cannot_hold() -> None:
    five = SignalSpec(modality=Modality.IMAGE, channels=5, shape=(8, 8))
    with pytest.raises(UserError, match="JPEG codes 1 or 3 channels, not 5"):
        resolve("jpeg", five, {})
