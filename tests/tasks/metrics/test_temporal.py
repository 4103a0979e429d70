from __future__ import annotations

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.temporal import temporal_error


def test_a_still_error_costs_nothing_and_flicker_does() -> None:
    clip = torch.rand(2, 3, 5, 4, 4) * 2 - 1
    assert temporal_error(clip + 0.3, clip).tolist() == pytest.approx([0, 0], abs=1e-6)
    flicker = clip.clone()
    flicker[1, :, 1::2] += 0.5  # every difference of frames is off by .5
    assert temporal_error(flicker, clip).tolist() == pytest.approx([0, 0.5], abs=1e-6)


def test_one_frame_has_no_differences() -> None:
    clip = torch.zeros(1, 1, 1, 2, 2)
    assert temporal_error(clip, clip).isnan().all()


def test_shapes_must_agree() -> None:
    with pytest.raises(UserError, match="clips must be"):
        temporal_error(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 3, 2, 2))
