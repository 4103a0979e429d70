"""Which spectrograms are alike: in their frames, in their filters."""

from __future__ import annotations

from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.vocoders.convention import MelConvention
from latentbench.tokenizers.spec import MelSpec
from latentbench.tokenizers.validation import check

MEL = MelSpec(sample_rate=8000, n_mels=24, n_fft=256, hop=64)
SAME = {"sample_rate": 8000, "n_mels": 24, "n_fft": 256, "hop": 64}


def test_height_and_logarithm_are_no_difference() -> None:
    for log in ("ln", "log10", "db"):
        convention = check(
            MelConvention, {**SAME, "log": log, "norm": "slaney", "floor": 1e-3, "f_max": 4000.0}, where=""
        )
        assert convention.unlike_frames(MEL) == convention.unlike_filters(MEL) == ()


@pytest.mark.parametrize(
    ("change", "frames", "bands"),
    [
        ({"sample_rate": 16000, "f_max": 4000.0}, "sample_rate 16000, not 8000", ""),
        ({"n_fft": 512, "hop": 128}, "n_fft 512, not 256; hop 128, not 64", ""),
        ({"n_mels": 80, "f_min": 20.0}, "", "n_mels 80, not 24; f_min 20, not 0"),
        ({"f_max": 3800.0, "power": 1}, "", "f_max 3800, not 4000; power 1, not 2"),
        ({"scale": "slaney"}, "", "scale slaney, not htk"),
    ],
)
def test_differences_are_named(change: dict[str, Any], frames: str, bands: str) -> None:
    convention = MelConvention(**SAME | change)
    assert "; ".join(convention.unlike_frames(MEL)) == frames
    assert "; ".join(convention.unlike_filters(MEL)) == bands


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop": 0}, "hop must be at least 1"),
        ({"f_max": 5000.0}, "f_min and f_max must be ordered and at most 4000 Hz"),
        ({"floor": 0.0}, "floor must be positive"),
        ({"scael": "htk"}, "scael"),
        ({"power": 3}, "power"),
    ],
)
def test_a_mistake_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(MelConvention, {**SAME, **change}, where="vocoder.mel")
