"""What an adapter declares, and which signals that admits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tokenizers.adapters.declaration import Declaration, Description, declared
from latentbench.tokenizers.spec import LatentGrid, Modality, SignalSpec

MakeSignal = Callable[..., SignalSpec]


@pytest.mark.parametrize(
    ("rule", "frames", "near"),
    [("4k+1", 31, (29, 33)), ("4k+1", 33, (33,)), ("8k+1", 16, (9, 17)), ("any", 31, (31,)), ("4k", 3, (4,))],
)
def test_the_nearest_lengths_of_a_rule(rule: str, frames: int, near: tuple[int, ...]) -> None:
    assert Declaration(modalities=(Modality.VIDEO,), frames=rule).nearest_frames(frames) == near


def test_31_frames_into_a_tokenizer_of_4k_plus_1_are_refused(make_signal: MakeSignal) -> None:
    clip = Declaration(modalities=(Modality.VIDEO, Modality.IMAGE), frames="4k+1", multiple=8)
    reason = clip.unsupported_reason(make_signal("video", (31, 16, 16)))
    assert reason == "clips have 4k+1 frames, and 31 would be cut or padded silently; nearest: 29 or 33"
    assert clip.unsupported_reason(make_signal("video", (33, 16, 16))) is None
    assert clip.unsupported_reason(make_signal("image", (16, 16))) is None


def test_sides_rates_channels_and_modalities_are_refused_with_what_would_do(make_signal: MakeSignal) -> None:
    picture = Declaration(modalities=(Modality.IMAGE,), multiple=8, channels=3)
    assert (
        picture.unsupported_reason(make_signal("image", (24, 20))) == "width 20 is no multiple of 8; nearest: 16 or 24"
    )
    assert picture.unsupported_reason(make_signal("video", (4, 8, 8))) == "it is for image, not video"
    grey = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(16, 16))
    assert picture.unsupported_reason(grey) == "it takes 3 channels, not 1: set data.channels"
    sound = Declaration(modalities=(Modality.WAVEFORM,), rate=24000.0, multiple=320, pad=True)
    other = sound.unsupported_reason(make_signal("waveform", (1000,), rate=16000.0))
    assert other == "it works at 24000 Hz, not 16000: set data.sample_rate=24000"
    fits = make_signal("waveform", (1000,), rate=24000.0)
    assert sound.unsupported_reason(fits) is None
    assert sound.padded(fits) == (1280,)


def test_a_multiple_per_axis_of_clips_also_serves_images(make_signal: MakeSignal) -> None:
    both = Declaration(modalities=(Modality.VIDEO, Modality.IMAGE), multiple=(2, 8, 16))
    assert both.multiples(Modality.IMAGE) == (8, 16)
    assert both.unsupported_reason(make_signal("video", (3, 8, 16))) == "time 3 is no multiple of 2; nearest: 2 or 4"


def test_scale_and_shift_are_a_mean_and_a_deviation() -> None:
    normaliser = declared(None, {"modality": "image", "normaliser": {"scale": 0.5, "shift": 0.1}}).normaliser
    assert (normaliser.mean, normaliser.std, normaliser.origin) == ((0.1,), (2.0,), "the user's spec")
    per_channel = declared(None, {"modality": "image", "normaliser": {"mean": [0, 1], "std": [2, 4.0]}}).normaliser
    assert (per_channel.mean, per_channel.std) == ((0.0, 1.0), (2.0, 4.0))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "spec.modality: missing; say what it encodes (image, video, waveform, spectrogram)"),
        ({"modality": "image", "rnage": [0, 1]}, "spec: rnage: unknown key; did you mean 'range'?"),
        ({"modality": "image", "range": [1, 0]}, "spec: range must ascend, as in [0.0, 1.0]"),
        ({"modality": "image", "frames": "4k-1"}, "spec: frames must be 'any' or a rule such as '4k+1', got '4k-1'"),
        ({"modality": "image", "multiple": 0}, "spec: multiple must be one or more whole numbers >= 1"),
        ({"modality": "image", "normaliser": {"scale": 0}}, "spec.normaliser.scale: expected numbers other than 0"),
        ({"modality": "image", "normaliser": {"std": [-1.0]}}, "std must be positive"),
    ],
)
def test_what_is_no_declaration_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        declared(None, table)
    assert message in str(error.value)


def test_a_user_s_table_lies_over_what_the_adapter_knows() -> None:
    base = Declaration(modalities=(Modality.WAVEFORM,), rate=24000.0, causal=True)
    over = declared(base, {"rate": 16000.0, "codebook_sizes": 64})
    assert (over.rate, over.causal, over.codebook_sizes) == (16000.0, True, (64,))


def test_a_description_survives_json() -> None:
    grid = LatentGrid(shape=(4, 4), channels=2, codebook_sizes=(8, 8))
    known = Declaration(modalities=(Modality.IMAGE,))
    description = Description(declaration=known, class_name="Mine", grids=(grid,), latents="codes", flops=2.0)
    assert Description.from_json(description.to_json()) == description
