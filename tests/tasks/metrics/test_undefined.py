"""Every metric of a reconstruction at its ends: what is not finite or too short has no value, what has another shape is
an error of one line, silence and one frame have a value or none."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.config import (
    HEARING,
    LPIPS,
    SPEECH,
    TEMPORAL,
    LpipsNetConfig,
    PairMetricConfig,
    SpeechConfig,
    metrics,
)
from latentbench.tasks.metrics.interface import PairMetric
from latentbench.tokenizers.spec import Modality, SignalSpec

RATE, SAMPLES = 16_000, 8192
SHAPES = {Modality.IMAGE: (32, 32), Modality.VIDEO: (4, 32, 32), Modality.WAVEFORM: (SAMPLES,)}
CONFIGS = [*(metrics.get(name)() for name in metrics.names()), *LPIPS["all"], *SPEECH, *HEARING, *TEMPORAL]


class Difference(nn.Module):
    """In the place of LPIPS, whose nets need weights."""

    protocol = "mean |x - y|"

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().flatten(1).mean(1)


def built(config: PairMetricConfig) -> PairMetric:
    metric: PairMetric
    if config in TEMPORAL:
        metric = config.build((False, True, False))
    elif isinstance(config, LpipsNetConfig):
        metric = config.build(Difference())
    else:
        metric = config.build()
    return metric


def signal_of(modality: Modality) -> SignalSpec:
    sound = modality is Modality.WAVEFORM
    rate = None if modality is Modality.IMAGE else RATE if sound else 8.0
    return SignalSpec(modality=modality, channels=1 if sound else 3, shape=SHAPES[modality], rate=rate)


def voices(batch: int) -> Tensor:
    """`[B, 1, N]`: a voice of 150 Hz that comes and goes."""
    t = torch.arange(SAMPLES, dtype=torch.float64) / RATE
    tone = sum(torch.sin(2 * torch.pi * 150 * k * t) / k for k in range(1, 9))
    rise = 0.6 + 0.4 * torch.sin(2 * torch.pi * 4 * t)
    return (0.1 * rise * torch.as_tensor(tone)).float().expand(batch, 1, -1).clone()


def pair_of(modality: Modality) -> tuple[Tensor, Tensor]:
    """Two samples that came back almost as they were."""
    if modality is Modality.WAVEFORM:
        original = voices(2)
    else:
        original = torch.rand(2, 3, *SHAPES[modality]) * 1.6 - 0.8
    return original + 0.01 * torch.randn_like(original), original


CASES = [
    pytest.param(config, modality, id=f"{config.kind}-{modality}")
    for config in CONFIGS
    for modality in SHAPES
    if modality in config.modalities
]
each = pytest.mark.parametrize(("config", "modality"), CASES)


def values(config: PairMetricConfig, modality: Modality, reconstruction: Tensor, original: Tensor) -> Tensor:
    """`[B]`, the mean over frames of a clip."""
    if isinstance(config, SpeechConfig) and find_spec(config.package) is None:
        pytest.skip(f"needs {config.package}")
    result: Tensor = built(config).values(reconstruction, original, signal_of(modality))
    return result if result.ndim == 1 else result.mean(1)


@each
def test_what_is_finite_has_a_value(config: PairMetricConfig, modality: Modality) -> None:
    result = values(config, modality, *pair_of(modality))
    assert result.shape == (2,)
    assert bool(result.isfinite().all())


def spoilt(x: Tensor, how: str) -> Tensor:
    """The first sample without its second half, or without anything; or with one number that is infinite."""
    x = x.clone()
    flat = x[0].view(-1)
    if how == "half":
        flat[len(flat) // 2 :] = torch.nan
    elif how == "all":
        flat[:] = torch.nan
    else:
        flat[len(flat) // 2] = float(how)
    return x


@each
@pytest.mark.parametrize("how", ["half", "all", "inf", "-inf"])
@pytest.mark.parametrize("which", ["reconstruction", "original"])
def test_a_sample_that_is_not_finite_is_missing_and_its_neighbour_is_not(
    config: PairMetricConfig, modality: Modality, how: str, which: str
) -> None:
    reconstruction, original = pair_of(modality)
    expected = values(config, modality, reconstruction, original)
    if which == "reconstruction":
        reconstruction = spoilt(reconstruction, how)
    else:
        original = spoilt(original, how)
    result = values(config, modality, reconstruction, original)
    assert bool(result[0].isnan())
    assert result[1].item() == pytest.approx(expected[1].item(), rel=1e-5, abs=1e-6)


@each
@pytest.mark.parametrize("change", ["shorter", "channels", "axes"])
def test_another_shape_is_an_error_of_one_line(config: PairMetricConfig, modality: Modality, change: str) -> None:
    reconstruction, original = pair_of(modality)
    changed: dict[str, Callable[[Tensor], Tensor]] = {
        "shorter": lambda x: x[..., :-1],
        "channels": lambda x: torch.cat([x, x], dim=1),
        "axes": lambda x: x[:, 0],
    }
    with pytest.raises(UserError) as caught:
        values(config, modality, changed[change](reconstruction), original)
    assert "\n" not in str(caught.value)


SOUNDS = [case for case in CASES if case.values[1] is Modality.WAVEFORM]
DEFINED_FOR_SILENCE = {"psnr", "stft_distance", "mel_distance"}


@pytest.mark.parametrize(("config", "modality"), SOUNDS)
def test_a_silent_original_is_missing_where_the_metric_is_relative_to_it(
    config: PairMetricConfig, modality: Modality
) -> None:
    reconstruction, original = pair_of(modality)
    result = values(config, modality, reconstruction, torch.zeros_like(original))
    assert bool(result.isfinite().all()) == (config.kind in DEFINED_FOR_SILENCE)
    assert bool(result.isnan().all()) != (config.kind in DEFINED_FOR_SILENCE)


# A reconstruction without sound: no opinion (PESQ finds no utterance) and no pitch; all else says how bad it is.
UNDEFINED_IF_SILENT = {"pesq", "f0_error"}


@pytest.mark.parametrize(("config", "modality"), SOUNDS)
def test_a_reconstruction_without_sound_is_no_good_one(config: PairMetricConfig, modality: Modality) -> None:
    _, original = pair_of(modality)
    good, silent = (values(config, modality, gain * original, original) for gain in (0.9, 0.0))
    if config.kind in UNDEFINED_IF_SILENT:
        assert bool(silent.isnan().all())
    elif config.direction == "higher":
        assert bool((silent < good).all())
    else:
        assert bool((silent > good).all())


@pytest.mark.parametrize(("config", "modality"), SOUNDS)
@pytest.mark.parametrize("samples", [100, 500])
def test_a_clip_that_is_too_short_has_a_value_or_none(
    config: PairMetricConfig, modality: Modality, samples: int
) -> None:
    reconstruction, original = (x[..., :samples] for x in pair_of(modality))
    result = values(config, modality, reconstruction, original)
    short = config in HEARING or isinstance(config, SpeechConfig)
    assert bool(result.isnan().all()) == short


CLIPS = [case for case in CASES if case.values[1] is Modality.VIDEO]


@pytest.mark.parametrize(("config", "modality"), CLIPS)
def test_a_clip_of_one_frame_changes_nowhere(config: PairMetricConfig, modality: Modality) -> None:
    if config in TEMPORAL:
        metric: PairMetric = config.build(())
    else:
        metric = built(config)
    reconstruction, original = (x[:, :, :1] for x in pair_of(modality))
    result = metric.values(reconstruction, original, signal_of(modality))
    in_time = config in TEMPORAL or config.kind == "temporal_error"
    assert len(result) == 2
    assert bool(result.isnan().all()) == in_time
