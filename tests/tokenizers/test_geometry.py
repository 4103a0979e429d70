"""Factors into strides, grids, and the arithmetic of TSR."""

from __future__ import annotations

import math

import pytest

from latentbench.tokenizers.backbones.stages import plan_stages, split_factor
from latentbench.tokenizers.geometry import Layout, grid_shape, solve_tsr
from latentbench.tokenizers.spec import Modality, SignalSpec


@pytest.mark.parametrize(
    ("factor", "largest", "factors"),
    [
        (1, 2, ()),
        (8, 2, (2, 2, 2)),
        (80, 8, (4, 4, 5)),
        (64, 8, (8, 8)),
        (16, 8, (4, 4)),
        (6, 2, (2, 3)),
        (13, 2, (13,)),
        (12, 4, (3, 4)),
    ],
)
def test_a_factor_is_split_evenly(factor: int, largest: int, factors: tuple[int, ...]) -> None:
    assert split_factor(factor, largest) == factors


@pytest.mark.parametrize("factor", range(1, 65))
@pytest.mark.parametrize("largest", [2, 4, 8])
def test_split_factors_multiply_to_the_factor(factor: int, largest: int) -> None:
    assert math.prod(split_factor(factor, largest)) == factor


def test_stages_of_a_video() -> None:
    stages = plan_stages((8, 32, 32), (2, 8, 8), widths=[16, 32], stem=2, stride=2)
    assert [stage.stride for stage in stages] == [(2, 2, 2), (1, 2, 2), (1, 2, 2)]
    assert [stage.width for stage in stages] == [16, 32, 32]
    assert stages[-1].shape == (4, 4, 4)


def test_a_grid_that_does_not_fit_names_what_would() -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(16000,))
    with pytest.raises(
        ValueError, match=r"divide the signal's time 16000; .*: 15872 or 16384; .*: 500 or 640"
    ) as caught:
        grid_shape(signal, (512,))
    assert "\n" not in str(caught.value)


def test_tsr_counts_source_elements() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(256, 256))
    assert solve_tsr(24, signal, Layout(shape=(32, 32)), what="channels") == 8
    assert solve_tsr(24, signal, Layout(shape=(16, 16)), what="channels") == 32
