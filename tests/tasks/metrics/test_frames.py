from __future__ import annotations

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.frames import per_frame


def test_frames_stay_with_their_clip_and_position() -> None:
    x = torch.arange(2 * 3).float().view(2, 1, 3, 1, 1).expand(2, 2, 3, 4, 4)
    seen = per_frame(lambda a, b: (a - b).mean((1, 2, 3)), x, torch.zeros_like(x))
    assert seen.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_images_are_refused() -> None:
    with pytest.raises(UserError, match="clips"):
        per_frame(lambda a, b: a, torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
