from __future__ import annotations

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.metrics import memorisation as module
from latentbench.tasks.metrics.memorisation import memorisation, nearest


@pytest.mark.parametrize("rows", [9, 65536])
def test_nearest_is_that_of_all_distances(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 40 * 7)
    monkeypatch.setattr(module, "_ROWS", rows)
    x, y = torch.randn(30, 5), torch.randn(40, 5)
    distances, indices = nearest(x, y)
    brute_force = torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert torch.equal(indices, brute_force.indices)
    torch.testing.assert_close(distances, brute_force.values)


def test_a_copy_is_at_zero_however_far_from_the_origin() -> None:
    y = torch.randn(50, 64) + 1e4
    distances, indices = nearest(y[7:12].clone(), y)
    assert distances.tolist() == [0.0] * 5
    assert indices.tolist() == [7, 8, 9, 10, 11]


@pytest.mark.slow
def test_copies_are_flagged_and_fresh_samples_are_not() -> None:
    train, val, fresh = torch.randn(400, 8), torch.randn(299, 8), torch.randn(300, 8)
    ratio, share, alike = memorisation("net", fresh, train, val, protocol="net")[0]
    assert (ratio.name, share.name) == ("nearest_train_ratio_net", "memorised_share_net")
    assert ratio.interval[0] < 1 < ratio.interval[1]
    assert alike.name == "nearest_sample_ratio_net"
    assert alike.value == pytest.approx(1, abs=0.1)
    assert share.interval[0] <= 0.01 <= share.interval[1]
    copied = torch.cat([train[:100] + 1e-4 * torch.randn(100, 8), fresh[:200]])
    (ratio, share, alike), closest = memorisation("net", copied, train, val, protocol="net")
    assert share.value == pytest.approx(1 / 3, abs=0.02)
    assert share.interval[0] > 0.2
    assert ratio.interval[1] < 1
    assert alike.value == pytest.approx(1, abs=0.15)
    assert [pair["sample"] for pair in closest] == [pair["train"] for pair in closest]
    assert all(pair["sample"] < 100 for pair in closest)
    ratio, share, _ = memorisation("net", train, train, val, protocol="net")[0]
    assert (ratio.value, share.value) == (0, 1)
    far = memorisation("net", fresh * 100, train, val, protocol="net")[0]
    assert far[0].value > 10
    assert far[1].value == 0


def test_a_collapse_to_the_mean_is_no_copying() -> None:
    train, val = torch.randn(400, 32), torch.randn(300, 32)
    collapsed = 0.01 * torch.randn(300, 32)
    ratio, share, alike = memorisation("net", collapsed, train, val, protocol="net")[0]
    assert (share.value, ratio.value < 0.9) == (1.0, True)  # what copies have too
    assert alike.value < 0.05
    assert memorisation("net", train[:300], train, val, protocol="net")[0][2].value == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("held_out", "expected"), [(299, 3 / 300), (40, 1 / 41)])
def test_fresh_data_are_as_often_near_as_the_protocol_says(
    monkeypatch: pytest.MonkeyPatch, held_out: int, expected: float
) -> None:
    """The share is of order statistics alone, so it holds for any law of distances."""
    monkeypatch.setattr(module, "_RESAMPLES", 2)
    generator = torch.Generator().manual_seed(1)
    train = torch.randn(100, 2, generator=generator)
    drawn = [
        memorisation("n", torch.randn(50, 2, generator=generator), train, val, protocol="")[0][1]
        for val in torch.randn(60, held_out, 2, generator=generator)
    ]
    assert f"{expected:.3g} of fresh data" in drawn[0].protocol
    values = torch.tensor([m.value for m in drawn], dtype=torch.float64)
    assert abs(float(values.mean()) - expected) < 3 * float(values.std()) / 60**0.5


@pytest.mark.slow
def test_intervals_hold_what_fresh_data_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RESAMPLES", 100)
    generator = torch.Generator().manual_seed(2)
    train = torch.randn(100, 3, generator=generator)
    hits = [0, 0]
    for seed in range(60):
        sets = torch.randn(2, 199, 3, generator=generator)
        ratio, share, _ = memorisation("n", sets[0], train, sets[1], protocol="", seed=seed)[0]
        hits[0] += ratio.interval[0] <= 1 <= ratio.interval[1]
        hits[1] += share.interval[0] <= 0.01 <= share.interval[1]
    assert min(hits) >= 51  # 85 %, of intervals meant to hold 95 %


@pytest.mark.slow
def test_same_seed_same_interval_and_bad_input() -> None:
    x, train, val = torch.randn(40, 4), torch.randn(60, 4), torch.randn(30, 4)
    assert memorisation("n", x, train, val, protocol="", seed=3) == memorisation(
        "n", x, train, val, protocol="", seed=3
    )
    x[5, 0] = float("inf")
    (ratio, *_), closest = memorisation("n", x, train, val, protocol="")
    assert (ratio.n, ratio.missing) == (39, 1)
    assert 5 not in [pair["sample"] for pair in closest]
    empty, _ = memorisation("n", x, train, val[:0], protocol="")
    assert [m.value for m in empty] == [None, None, None]
    copies, _ = memorisation("n", x, train, train[:30], protocol="")
    assert copies[0].value is None  # nothing to compare with: held-out data are training data
    with pytest.raises(UserError, match=r"\[30, 4\] and \[60, 3\]"):
        nearest(val, train[:, :3])
    with pytest.raises(UserError, match="not finite"):
        nearest(x, train)
