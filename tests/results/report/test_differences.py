"""The embedded differences are those that tables rank by."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.results.pairwise import compare
from latentbench.results.report import differences as module
from latentbench.results.report.differences import differences
from latentbench.results.report.model import model
from latentbench.results.rows import rows


def test_values_and_intervals_are_of_all_pairs_at_once(folder: Path) -> None:
    section = model(rows([folder])).sections[1]
    found = differences(section)
    compared = compare([group.entry("psnr") for group in section.groups])
    one = found["psnr"]
    for i in range(len(section.groups)):
        for j in range(len(section.groups)):
            if i != j:
                assert one["values"][i][j] == pytest.approx(compared.values[i, j], rel=1e-4)
                assert one["below"][i][j] == pytest.approx(compared.below[i, j], rel=1e-4)
                assert one["above"][j][i] == pytest.approx(compared.above[j, i], rel=1e-4)
    assert "real_bits" not in found  # few bits are no merit alone


def test_what_may_not_be_compared_has_the_reason(folder: Path) -> None:
    one_seed = [row for row in rows([folder]) if row["seed"] == 0 and row["modality"] == "video"]
    found = differences(model(one_seed).sections[0])
    assert "one seed" in found["gfd_net"]["reason"]
    assert "values" in found["psnr"]  # sample by sample


def test_many_lines_have_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES", 4)
    assert differences(model(rows([folder])).sections[1]) == {}
