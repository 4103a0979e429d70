"""Random views: what they change and what they leave alone."""

from __future__ import annotations

import pytest
import torch

from latentbench.tasks.nets.views import CONTRASTIVE, LABELLED, crop, shift, view
from latentbench.tokenizers.spec import Modality


def test_crop_of_a_ramp_is_a_shorter_ramp() -> None:
    ramp = torch.linspace(0, 1, 33).expand(16, 1, 4, 33)
    out = crop(ramp, (1.0, 0.5))
    steps = out.diff(dim=-1)
    torch.testing.assert_close(steps, steps[..., :1].expand_as(steps), atol=1e-5, rtol=0)  # still linear
    share = steps[:, 0, 0, 0] * 32
    assert float(share.min()) >= 0.5 - 1e-5
    assert float(share.max()) <= 1 + 1e-5
    assert float(share.std()) > 0.05
    assert float(out.min()) >= -1e-6
    assert float(out.max()) <= 1 + 1e-6
    assert torch.equal(crop(ramp, (1.0, 1.0)), ramp)


def test_shift_rotates() -> None:
    wave = torch.arange(10.0).expand(50, 2, 10)
    out = shift(wave)
    assert torch.equal(out.sort(-1).values, wave)
    assert torch.equal(out[:, 0], out[:, 1])
    assert set(out.diff(dim=-1).unique().tolist()) == {1.0, -9.0}
    assert len(out[:, 0, 0].unique()) > 3


@pytest.mark.parametrize(
    ("modality", "shape"),
    [(Modality.IMAGE, (3, 16, 16)), (Modality.VIDEO, (3, 4, 8, 8)), (Modality.SPECTROGRAM, (1, 16, 20))],
)
def test_views_differ_are_finite_and_follow_the_seed(modality: Modality, shape: tuple[int, ...]) -> None:
    x = torch.randn(4, *shape)
    for ranges in (CONTRASTIVE[modality], LABELLED[modality]):
        torch.manual_seed(3)
        one, two = view(x, ranges), view(x, ranges)
        torch.manual_seed(3)
        assert torch.equal(one, view(x, ranges))
        assert not torch.equal(one, two)
        assert one.shape == x.shape
        assert bool(one.isfinite().all())
