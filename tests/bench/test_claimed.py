"""Claims of finished runs, over records written by hand: verdicts, three forms, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.claimed import intervals, judged, to_markdown
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store

CLAIM: dict[str, Any] = {
    "id": "X1",
    "name": "Fine | coarse",
    "claim": "fine comes back better, and as large",
    "comparisons": [
        {"metric": "psnr", "left": "fine", "relation": "above", "right": "coarse"},
        {"metric": "tsr", "left": "fine", "relation": "equal to", "right": "coarse"},
        {"metric": "ssim", "left": "fine", "relation": "above", "right": "coarse", "counts": False},
    ],
}
NEVER: dict[str, Any] = {
    "id": "X2",
    "name": "Absent",
    "claim": "a cell that was not run",
    "comparisons": [{"metric": "psnr", "left": "finest", "relation": "above", "right": "coarse"}],
}
OTHER_WAY: dict[str, Any] = {
    "id": "X3",
    "name": "Worse",
    "claim": "coarse comes back better",
    "comparisons": [{"metric": "psnr", "left": "coarse", "relation": "above", "right": "fine"}],
}


def cell(store: Store, label: str, seed: int, psnr: float, *, dataset: str = "photos", modality: str = "image") -> Any:
    key = f"{dataset}-{label}-{seed}"
    metric = Metric(name="psnr", value=psnr, unit="dB", direction="higher", n=9, se=0.1, role="distortion")
    store.save(Record(kind="reconstruction", key=key, status="finished", metrics=(metric,)))
    facts = {"cell": key, "dataset": dataset, "modality": modality, "recipe": "ae", "label": label, "axes": {}}
    facts |= {"seed": seed, "jobs": {"reconstruction": f"reconstruction/{key}"}, "topology": "grid", "discrete": False}
    rates = {"tsr": 12.0, "tsr_input": 12.0, "elements": 64, "positions": 16, "bits_per_sample": 2048.0}
    return facts | rates | {"bits_per_element": 2.0, "bitrate": None}


def write(folder: Path, *claims: dict[str, Any], suite: str = "mine", **place: str) -> Path:
    store = Store(folder)
    cells = [cell(store, "fine", seed, 25.0 + 0.1 * seed, **place) for seed in range(3)]
    cells += [cell(store, "coarse", seed, 20.0 + 0.2 * seed, **place) for seed in range(3)]
    store.write_suite(suite, cells, claims=list(claims))
    return folder


def test_verdicts(tmp_path: Path) -> None:
    found = judged([write(tmp_path, CLAIM, NEVER, OTHER_WAY)])
    assert {item.claim.id: item.verdict for item in found} == {
        "X1": "image: confirmed",
        "X2": "not run",
        "X3": "image: refuted",
    }
    assert found[0].lines[0].startswith("psnr: fine above coarse, by 4.90 [4.65, 5.15] dB")

    assert found[0].lines[1] == "tsr: fine equal to coarse, by 0 [0, 0], 3 seeds: confirmed"
    assert found[0].lines[2] == "ssim: fine above coarse: not run (fine has no ssim) (for information)"
    assert intervals(found) == 2, "sameness of every seed is no test by an interval"


def test_a_suite_in_two_folders_is_one(tmp_path: Path) -> None:
    images = write(tmp_path / "a", CLAIM)
    sounds = write(tmp_path / "b", CLAIM, dataset="sounds", modality="waveform")
    (both,) = judged([images, sounds])
    assert both.verdict == "image: confirmed; waveform: confirmed"
    assert [line.partition(":")[0] for line in both.lines[:2]] == ["image", "waveform"]
    (one,) = judged([images, sounds], ["modality=waveform"])
    assert one.verdict == "waveform: confirmed"
    more = write(tmp_path / "c", CLAIM, dataset="drawings")
    (pictures,) = judged([images, more])
    assert [line.partition(":")[0] for line in pictures.lines[:2]] == ["photos", "drawings"]


def test_three_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, CLAIM, OTHER_WAY)
    assert cli.main(["claims", str(folder)]) == 0
    page = capsys.readouterr().out
    assert page.strip() == to_markdown(judged([folder]))
    assert page.splitlines()[0] == "| id | name | claim | verdict | comparisons |"
    assert r"| X1 | Fine \| coarse | fine comes back better, and as large | image: confirmed | psnr: fine" in page
    assert "Comparisons tested: 2;" in page
    assert cli.main(["claims", str(folder), "--format", "text"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["mine", "  X1 Fine | coarse: fine comes back better, and as large", "    image: confirmed"]
    assert cli.main(["claims", str(folder), "--format", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["id"], first["suite"], first["verdicts"]) == ("X1", "mine", {"image": "confirmed"})
    assert second["comparisons"][0]["low"] < second["comparisons"][0]["high"] < 0
    other = write(tmp_path / "other", CLAIM, suite="theirs")
    assert to_markdown(judged([folder, other])).startswith("| suite | id |")


def test_what_a_suite_says_can_act_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = CLAIM | {"name": "a\x1b[2J\nb", "claim": "<b>|</b>\u202e"}
    folder = write(tmp_path, hostile)
    for form in ("text", "md"):
        assert cli.main(["claims", str(folder), "--format", form]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert "\u202e" not in out


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    without = write(tmp_path / "without")
    with pytest.raises(UserError, match=r"without: no suite there has \[\[claims\]\]"):
        judged([without])
    one, other = write(tmp_path / "one", CLAIM), write(tmp_path / "other", CLAIM | {"claim": "another"})
    with pytest.raises(UserError, match=r"one and .*other: their suite mine claims different things; give one"):
        judged([one, other])
    assert cli.main(["claims", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    damaged = write(tmp_path / "damaged", CLAIM | {"comparisons": [{"metric": "psnr"}]})
    with pytest.raises(UserError, match=r"mine\.json: claims\[0\]: comparisons\[0\]\.left: missing"):
        judged([damaged])
    with pytest.raises(UserError, match="unknown"):
        judged([one], ["modalty=image"])
