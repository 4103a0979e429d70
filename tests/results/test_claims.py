"""Comparisons and verdicts, on records written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from latentbench.results.claims import Claim, ClaimComparison, Finding, _mean, conclusions, holds, judge, verdicts
from latentbench.results.metric import Metric
from latentbench.results.rows import Row, rows
from latentbench.results.statistics import Entry
from latentbench.results.store import Store

LEFT, RIGHT = [25.0, 25.3, 25.1], [20.0, 20.2, 20.4]


@pytest.fixture
def table(tmp_path: Path, add: Callable[..., dict[str, Any]]) -> list[Row]:
    """Two image cells of three seeds and a third of one, on "photos"; two waveform cells of one seed."""
    store = Store(tmp_path)
    cells = []

    def metrics(psnr: float, **others: float) -> list[Metric]:
        fields = {"se": 0.1, "interval": (psnr - 0.2, psnr + 0.2), "direction": "higher", "n": 9}
        finding = [Metric(name="psnr", value=psnr, unit="dB", **fields)]  # type: ignore[arg-type]
        return [*finding, *(Metric(name=name, value=value, n=9) for name, value in others.items())]

    for seed, (a, b) in enumerate(zip(LEFT, RIGHT, strict=True)):
        exact = {"encoder_gradient": 0.0, "codebook_perplexity": 100.0 + seed}
        cells.append(add(store, "a", label="fine", metrics=metrics(a, **exact), seed=seed, bits_per_sample=8192.0))
        cells.append(add(store, "b", label="coarse", metrics=metrics(b), seed=seed))
    cells.append(add(store, "c", label="once", metrics=metrics(24.0, encoder_gradient=0.0)))
    for label, psnr in (("fine", 30.0), ("coarse", 30.1)):
        sound = {"dataset": "sounds", "modality": "waveform"}
        cells.append(add(store, f"sound-{label}", label=label, metrics=metrics(psnr), **sound))
    store.write_suite("systems", cells)
    return rows([store])


def one(table: list[Row], modality: str = "image", **comparison: Any) -> Finding:
    fields = {"metric": "psnr", "left": "fine", "relation": "above", "right": "coarse", **comparison}
    (finding,) = judge(
        Claim(id="X", name="x", claim="x", comparisons=(ClaimComparison(**fields, modalities=(modality,)),)), table
    )
    return finding


def test_seeds_are_paired(table: list[Row]) -> None:
    finding = one(table)
    differences = np.subtract(LEFT, RIGHT)
    half = scipy.stats.t.ppf(0.975, 2) * differences.std(ddof=1) / np.sqrt(3)
    assert (finding.status, finding.seeds, finding.unit) == ("confirmed", 3, "dB")
    assert finding.value == pytest.approx(differences.mean())
    assert (finding.low, finding.high) == (
        pytest.approx(differences.mean() - half),
        pytest.approx(differences.mean() + half),
    )
    assert one(table, relation="below").status == "not confirmed"
    assert one(table, margin=5.0).status == "not confirmed"  # 5 lies within the interval
    relative = one(table, relative=True, margin=0.2)
    assert relative.value == pytest.approx(differences.mean() / np.mean(RIGHT))
    assert relative.status == "confirmed"


@pytest.mark.parametrize(
    ("relation", "low", "high", "expected"),
    [
        ("above", 0.1, 0.5, "confirmed"),
        ("above", -0.1, 0.5, "undecided"),
        ("above", -0.5, -0.1, "refuted"),
        ("below", 0.1, 0.5, "refuted"),
        ("not below", -2.0, -1.1, "refuted"),  # the margin is 1
        ("not below", -2.0, -0.9, "undecided"),
        ("not above", 1.1, 2.0, "refuted"),
        ("equal to", -3.0, -1.5, "refuted"),
        ("equal to", -3.0, 0.5, "undecided"),
    ],
)
def test_what_is_not_confirmed_is_refuted_or_undecided(relation: Any, low: float, high: float, expected: str) -> None:
    margin = 0.0 if relation in ("above", "below") else 1.0
    comparison = ClaimComparison(metric="psnr", left="a", relation=relation, right="b", margin=margin)
    status: Any = "confirmed" if holds(relation, low, high, margin) else "not confirmed"
    finding = Finding(comparison=comparison, dataset="d", modality="image", status=status, low=low, high=high, seeds=3)
    assert conclusions([finding]) == {"image": expected}
    beside = Finding(comparison=replace(comparison, counts=False), dataset="d", modality="image", status="confirmed")
    assert conclusions([finding, beside]) == {"image": expected}


def test_one_seed_has_the_interval_within_its_run(table: list[Row]) -> None:
    finding = one(table, "waveform", relation="not below", margin=0.5)
    assert finding.seeds == 1
    assert finding.value == pytest.approx(-0.1)
    assert (finding.low, finding.high) == (pytest.approx(-0.1 - 0.2 * 2**0.5), pytest.approx(-0.1 + 0.2 * 2**0.5))
    assert finding.status == "confirmed"
    assert one(table, "waveform").status == "not confirmed"


def test_a_constant_and_an_exact_number(table: list[Row]) -> None:
    exact = {"metric": "encoder_gradient", "relation": "equal to", "right": 0.0, "margin": 1e-9}
    assert one(table, **exact).status == "confirmed"
    assert one(table, **exact, left="once").status == "confirmed"  # no interval, and exactly what was claimed
    assert one(table, metric="encoder_gradient", relation="above", right=0.0).status == "not confirmed"
    unknown = one(table, metric="encoder_gradient", relation="above", right=-1.0, left="once")
    assert unknown.text.endswith("by 1, 1 seed: not confirmed (no interval is known)")
    above = one(table, right=24.0)
    half = scipy.stats.t.ppf(0.975, 2) * np.std(LEFT, ddof=1) / np.sqrt(3)
    assert above.low == pytest.approx(np.mean(LEFT) - 24 - half)


def test_sameness_is_claimed_of_every_seed(table: list[Row]) -> None:
    finding = one(table, relation="equal to", margin=5.2)
    differences = np.subtract(LEFT, RIGHT)
    assert (finding.low, finding.high) == (pytest.approx(differences.min()), pytest.approx(differences.max()))
    assert finding.status == "confirmed"
    assert one(table, relation="equal to", margin=5.0).status == "not confirmed"
    assert one(table, "waveform", relation="equal to", margin=0.11).status == "confirmed"
    assert one(table, metric="positions", relation="equal to", right=256, margin=0.0).status == "confirmed"


def test_the_mean_of_several_cells(table: list[Row]) -> None:
    finding = one(table, "waveform", right=("coarse", "fine"))
    assert finding.right == pytest.approx(30.05)
    assert finding.value == pytest.approx(-0.05)
    assert finding.high - finding.value == pytest.approx((0.04 + 0.02) ** 0.5)  # 0.2 and (0.2, 0.2) / 2 in quadrature
    assert "the mean of coarse and fine" in finding.text


def test_numbers_are_scaled_by_facts_of_the_cell(table: list[Row]) -> None:
    share = one(table, metric="perplexity_share", right=0.25)
    assert share.left == pytest.approx(101 / 2**8)  # 8192 bits on 1024 elements
    assert share.status == "confirmed"
    assert one(table, metric="bits_per_sample", relation="not above", margin=0.0).status == "confirmed"


def test_what_is_not_there_was_not_run(table: list[Row]) -> None:
    assert one(table, left="absent").status == "not run"
    missing = one(table, metric="ssim")
    assert (missing.status, missing.reason) == ("not run", "fine has no ssim")
    assert "not run (fine has no ssim)" in missing.text


def test_a_verdict_needs_all_that_counts(table: list[Row]) -> None:
    good = ClaimComparison(metric="psnr", left="fine", relation="above", right="coarse")
    bad = ClaimComparison(metric="psnr", left="once", relation="above", right="fine")
    absent = ClaimComparison(metric="psnr", left="nobody", relation="above", right="fine")

    def of(*comparisons: ClaimComparison) -> dict[str, str]:
        return dict(verdicts(judge(Claim(id="X", name="x", claim="x", comparisons=comparisons), table)))

    assert of(good) == {"image": "confirmed", "waveform": "not confirmed"}
    assert of(good, bad) == {"image": "not confirmed"}  # without `once` the waveforms say nothing of the whole claim
    assert of(good, absent) == {"image": "not run", "waveform": "not confirmed"}
    aside = ClaimComparison(metric="psnr", left="once", relation="above", right="fine", counts=False)
    assert of(good, aside)["image"] == "confirmed"
    assert of(absent) == {}


def test_relations() -> None:
    inside, above = (-0.5, 0.5), (0.2, 1.0)
    assert holds("above", *above, 0.1)
    assert not holds("above", *above, 0.2)
    assert holds("below", -1.0, -0.2, 0.1)
    assert not holds("below", *inside, 0.0)
    assert holds("not below", *inside, 0.5)
    assert not holds("not above", *above, 0.9)
    assert holds("equal to", *inside, 0.5)
    assert not holds("equal to", *inside, 0.4)


def test_a_finding_reads_as_a_line(table: list[Row]) -> None:
    text = one(table).text
    assert text == "psnr: fine above coarse, by 4.93 [4.42, 5.45] dB, 3 seeds: confirmed"


def test_a_claim_that_nothing_tests_is_refused() -> None:
    aside = ClaimComparison(metric="psnr", left="fine", relation="above", right="coarse", counts=False)
    for comparisons in ((), (aside,)):
        with pytest.raises(ValueError, match="at least one must count"):
            Claim(id="X", name="x", claim="x", comparisons=comparisons)
    with pytest.raises(ValueError, match="margin: must not be negative"):
        ClaimComparison(metric="psnr", left="fine", relation="above", right="coarse", margin=-1.0)


def test_the_mean_of_cells_that_seeds_change_nothing_of_has_their_interval() -> None:
    entries = [Entry(values={0: x, 1: x}, within=(x - 3.0, x + 3.0)) for x in (10.0, 20.0)]
    assert _mean(entries).within == pytest.approx((15 - 4.5**0.5, 15 + 4.5**0.5))
