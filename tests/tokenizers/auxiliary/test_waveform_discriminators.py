"""The discriminators of neural codecs: folding, phases and bands that do not mix, sizes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from latentbench.tokenizers.auxiliary.waveform_discriminators import (
    PERIODS,
    BandDiscriminator,
    CodecDiscriminator,
    PeriodDiscriminator,
    fold,
)


def test_folding_mirrors_the_end() -> None:
    x = torch.arange(10.0).view(1, 1, 10)
    assert fold(x, 4)[0, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 7]]
    assert fold(x, 5)[0, 0].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_phases_of_a_period_do_not_mix() -> None:
    """Changing every P-th sample changes one column of the logits of that period, and all of them of another."""
    net = PeriodDiscriminator(channels=1, width=1)
    x = torch.randn(1, 1, 2310)  # divisible by every period
    y = x.clone()
    y[..., 3::5] += 1.0
    with torch.no_grad():
        before, after = net(x), net(y)
    changed = {
        period: (a != b).any(2).flatten().tolist()
        for period, a, b in zip(PERIODS, before.logits, after.logits, strict=True)
    }
    assert changed[5] == [False, False, False, True, False]
    assert all(changed[7])
    assert [feature.shape[1] for feature in before.features] == [1, 4, 16, 32, 32] * len(PERIODS)


def test_a_period_net_has_the_size_of_hifi_gans() -> None:
    """Widths 32, 128, 512, 1024, 1024 and kernels of 5, by hand; weight norm adds a number per output channel."""
    net = PeriodDiscriminator(channels=1, width=32, periods=(2,))
    widths = [1, 32, 128, 512, 1024, 1024]
    expected = sum(5 * a * b + 2 * b for a, b in pairwise(widths)) + 3 * 1024 + 2
    assert sum(p.numel() for p in net.parameters()) == expected


def test_a_band_sees_its_own_bins_alone() -> None:
    """A line in the second band's bins changes that band's features, and leaves the others as they are."""
    net = BandDiscriminator(4096, channels=1, width=2, layers=1, windows=(512,))
    quiet = torch.zeros(1, 2, 8, 257)
    loud = quiet.clone()
    loud[..., 45] = 1.0  # 17.5 % of the spectrum
    [bands] = net.nets
    with torch.no_grad():
        *before, _ = bands(quiet)
        *after, _ = bands(loud)
    per_band = len(before) // 5
    differs = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    changed = [any(differs[i : i + per_band]) for i in range(0, len(differs), per_band)]
    assert changed == [False, True, False, False, False]


def test_the_bands_of_a_short_window_and_both_together() -> None:
    net = CodecDiscriminator(256, channels=2, width=1, layers=2, windows=(2048, 16))
    judged = net(torch.randn(2, 2, 256))
    assert net.band.windows == (256, 16)
    assert len(judged.logits) == len(PERIODS) + 2
    sum(part.mean() for part in judged.logits).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("period", [2, 11])
def test_short_sounds(period: int) -> None:
    net = PeriodDiscriminator(channels=1, width=1, periods=(period,))
    assert net(torch.randn(1, 1, 64)).logits[0].shape[-1] == period
