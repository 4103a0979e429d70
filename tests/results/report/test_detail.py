"""What stands on a tokenizer's page, against the files that it was read from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from latentbench.results.groups import Group, aggregate
from latentbench.results.metrics import Metrics
from latentbench.results.report.detail import columns_of, detail, log_tail, read_curve, versions_of
from latentbench.results.rows import rows


@pytest.fixture(scope="module")
def group(folder: Path) -> Group:
    return next(g for g in aggregate(rows([folder])) if g.modality == "image" and g.finished == 2)


@pytest.fixture(scope="module")
def found(group: Group) -> dict[str, Any]:
    return detail(group, lambda ending, content: f"x.{ending}")


@pytest.mark.slow
def test_values_by_sample_are_those_of_the_first_seeds_file(found: dict[str, Any], group: Group) -> None:
    values = load_file(group.rows[0].files["psnr"])["psnr"]
    one = found["samples"]["psnr"]
    assert sum(one["counts"]) == one["n"] == 48
    assert [i for i, _ in one["worst"]] == np.argsort(values)[:8].tolist()
    assert [i for i, _ in one["best"]] == np.argsort(values)[::-1][:8].tolist()
    assert one["quartiles"][2] == pytest.approx(float(np.median(values)), rel=1e-4)
    assert one["first"] == pytest.approx(values[:48].tolist(), rel=1e-4)


def test_samples_and_points_are_of_a_seed_that_was_reconstructed(group: Group) -> None:
    waiting = dataclasses.replace(
        group.rows[0], jobs={"reconstruction": "reconstruction/absent"}, metrics=Metrics.of({}), files={}
    )
    late = detail(dataclasses.replace(group, rows=(waiting, *group.rows[1:])), lambda ending, content: "")
    assert late["samples"]["psnr"]["n"] == 48
    assert [point["point"] for point in late["points"]] == ["2", "full"]
    assert late["points"][0]["metrics"]["psnr"]


def test_curves_are_of_every_seed_and_thinned(found: dict[str, Any]) -> None:
    curves = [seed["curves"] for seed in found["seeds"]]
    assert len(curves) == 2
    curve = curves[0]["tokenizer"]
    assert curve["step"][0] == 1
    assert curve["step"][-1] == 300
    assert 100 <= len(curve["step"]) <= 201
    assert curve["loss"] == pytest.approx([1 / step for step in curve["step"]], rel=1e-4)
    assert len(curves[0]["prior"]["step"]) == 50


def test_operating_points_have_their_metrics_with_intervals_and_latencies(found: dict[str, Any]) -> None:
    low, full = found["points"]
    assert (low["point"], low["seconds"], full["point"], full["seconds"]) == ("2", 0.001, "full", 0.002)
    assert low["metrics"]["psnr"][0] < full["metrics"]["psnr"][0]
    assert full["metrics"]["psnr"][1] < full["metrics"]["psnr"][0] < full["metrics"]["psnr"][2]


def test_provenance_names_jobs_versions_digests_and_the_configuration(found: dict[str, Any], group: Group) -> None:
    seed = found["seeds"][0]
    jobs = {job["kind"]: job for job in seed["jobs"]}
    assert jobs.keys() == group.rows[0].jobs.keys()
    assert jobs["tokenizer"]["versions"] == ["torch 2.11.0"]
    told = {"versions": {"torch": "2", "latentbench": "1"}, "commit": f"{'0123456789' * 4}-dirty"}
    assert versions_of(told) == ["latentbench 1 (012345678901-dirty)", "torch 2"]
    assert jobs["tokenizer"]["memory"] == 256
    assert json.loads(seed["config"]) == {"tokenizer": {"recipe": "kl-vae"}}


def test_the_page_of_a_failed_cell_has_its_status(folder: Path) -> None:
    broken = next(g for g in aggregate(rows([folder])) if not g.finished)
    found = detail(broken, lambda ending, content: "")
    assert found["media"] == found["latents"] == found["samples"] == {}
    assert found["seeds"][0]["status"].startswith("failed: tokenizer: DivergedError")


def test_without_a_share_no_picture_is_made(group: Group) -> None:
    assert detail(group, lambda ending, content: pytest.fail("saved"), share=0.0)["media"] == {}


def test_a_curve_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    (tmp_path / "curve.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n{"step": 3, "lo')
    lines = read_curve(tmp_path)
    assert columns_of(lines) == {"step": [1.0, 2.0], "loss": [2.0, 1.0]}
    assert read_curve(tmp_path / "absent") == []


def test_numbers_that_are_none_leave_gaps() -> None:
    assert columns_of([{"step": 1, "loss": float("nan")}, {"step": 2}]) == {"step": [1.0, 2.0], "loss": [None, None]}


def test_a_log_is_read_from_its_end(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "attempt-1.log").write_text("x" * 9000 + "the end")
    path, text = log_tail(tmp_path, most=100)
    assert path.endswith("attempt-1.log")
    assert len(text) == 100
    assert text.endswith("the end")
    assert log_tail(tmp_path / "absent") == ("", "")
