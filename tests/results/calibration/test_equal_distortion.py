"""Bits at equal distortion: by hand, and in a calibration of records."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from latentbench.results.calibration.equal_distortion import bits_at_equal_psnr
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.errors import UserError
from latentbench.results.groups import aggregate
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.rows import rows
from latentbench.results.store import Store


def with_bits(runs: Path, recipe: str) -> None:
    """Gives the recipe's cells a prior of codes with 1 bit per element, and one hundredth more with the second seed."""
    store = Store(runs)
    for channels in (2, 4, 8):
        for seed in range(2):
            key = f"{recipe}-{channels}-{seed}"
            record = store.outcome("generation", key)
            assert record is not None
            bits = Metric(name="nll_bits_per_element", value=1 + 0.01 * seed, direction="lower", role="prior")
            store.save(Record(kind="generation", key=key, status="finished", metrics=(*record.metrics, bits)))


def test_half_a_bit_for_half_the_squared_error(runs: Path) -> None:
    """PSNRs of vq-vae are 30 - (7 q mod 3) for q = 1, 1.25 and 1.5; another cell's, without bits, is no reference."""
    with_bits(runs, "vq-vae")
    groups = aggregate(rows([runs]))
    values = bits_at_equal_psnr(groups)
    assert [bool(value) for value in values] == [False] * 3 + [True] * 3 + [False] * 3
    psnr = [group.mean("psnr") for group in groups[3:6]]
    assert psnr == [29, 27.25, 28.5]
    for value, own in zip(values[3:6], psnr, strict=True):
        squared_error = 4 * 10 ** (-own / 10)
        of_the_best = 4 * 10 ** (-29 / 10)
        assert value[0] == pytest.approx(1 + 0.5 * math.log2(squared_error / of_the_best))
        assert value[1] == pytest.approx(value[0] + 0.01)


def test_it_is_an_outcome_by_name(runs: Path) -> None:
    with_bits(runs, "vq-vae")
    (table,) = read_runs([runs], outcome="bits_at_equal_psnr")
    assert (table.outcome, table.direction) == ("bits_at_equal_psnr", "lower")
    assert [item.name for item in table.items] == [f"vq-vae (channels={channels})" for channels in (2, 4, 8)]
    assert table.items[0].outcome == pytest.approx((1, 1.01))
    assert any("6 cells without bits_at_equal_psnr are left out" in note for note in table.notes)


def test_runs_without_codes_are_told(runs: Path) -> None:
    with pytest.raises(UserError, match=r"three cells with nll_bits_per_element \(of priors of codes\) and psnr"):
        read_runs([runs], outcome="bits_at_equal_psnr")
