"""Calibrations stand on the page where there are enough tokenizers, and are those of the command."""

from __future__ import annotations

from pathlib import Path

from latentbench.results.calibration.command import calibrations as of_command
from latentbench.results.report.calibrations import calibrations
from latentbench.results.rows import rows


def test_proxies_are_the_commands_with_a_point_per_tokenizer(folder: Path) -> None:
    table = [row for row in rows([folder]) if row["modality"] == "video"]
    (one,) = calibrations(table)
    (same,) = of_command([folder], where=["modality=video"])
    assert one["heads"][0] == "proxy"
    assert [p["name"] for p in one["proxies"]] == [r.predictor.name for r in same.proxies]
    assert one["outcome"] == "log gfd_net"
    viv = next(p for p in one["proxies"] if p["name"] == "viv")
    expected = next(r for r in same.proxies if r.predictor.name == "viv").correlations["spearman", "overall"].value
    assert viv["rho"][0] == expected == -1
    assert len(viv["values"]) == len(one["items"]) == 5
    assert one["ceiling"] is not None


def test_few_tokenizers_have_none(folder: Path) -> None:
    table = [row for row in rows([folder]) if row["modality"] == "video" and row["channels"] == 8]
    assert calibrations(table) == []
    assert calibrations([row for row in table if row["status"] == "missing"]) == []
