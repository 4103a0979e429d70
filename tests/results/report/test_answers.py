"""The sentences say what the numbers say, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latentbench.results.report.answers import answers
from latentbench.results.report.model import model
from latentbench.results.rows import Row, rows


@pytest.fixture(scope="module")
def table(folder: Path) -> list[Row]:
    return rows([folder])


def said(table: list[Row]) -> list[dict[str, str]]:
    known = model(table)
    return answers(known.sections[0], known.lines_of(0))


def test_the_least_rate_and_the_best_distortion_are_named(table: list[Row]) -> None:
    small, well, learned = said([row for row in table if row["modality"] == "video"])
    assert small["headline"].startswith("rate 18")
    assert re.match(r"vq-vae takes the least: 18\S+ (± \S+ )?bit\. The most is ", small["text"])
    assert "by kl-vae channels=8 downsample=2" in small["text"]
    assert well["headline"].startswith("PSNR 25.")
    assert well["text"].endswith("It is better than the other 4 beyond the 95 % interval of the difference.")
    assert learned["text"].startswith("kl-vae channels=8 downsample=2 has the lowest gFD net")


def test_one_seed_names_no_winner_of_what_a_prior_made(table: list[Row]) -> None:
    one = [row for row in table if row["modality"] == "video" and row["seed"] == 0]
    assert "No winner is named, since one seed does not show" in said(one)[2]["text"]


def test_what_is_not_measured_is_said_to_be(table: list[Row]) -> None:
    failed = [row for row in table if row["status"] != "finished"]
    assert len(failed) == 1
    headlines = [answer["headline"] for answer in said(failed)]
    assert headlines[1:] == ["not measured", "not measured"]
