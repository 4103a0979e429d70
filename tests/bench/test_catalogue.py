"""The texts of `list` and `plan`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from latentbench.bench.catalogue import SYNONYMS, TOPICS, listing, plan_text
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite


@pytest.mark.parametrize(
    ("topic", "names"),
    [
        ("recipes", {"ae", "pca", "kl-vae", "vq-vae", "fsq", "multi-head-vq"}),
        ("bottlenecks", {"identity", "linear", "kl", "vq", "fsq"}),
        ("priors", {"ar", "flow"}),
        ("metrics", {"psnr", "ssim", "si_sdr", "stft_distance", "mel_distance"}),
        ("nets", {"inception", "mobilenet_v2", "yamnet", "musicnn", "i3d"}),
        ("proxies", {"viv"}),
        ("datasets", {"procedural", "folder", "torchvision"}),
        ("tasks", {"reconstruction", "generation", "modelability"}),
        ("suites", {"quickstart", "image-tsr-grid"}),
        ("engines", {"local"}),
        ("sinks", {"tensorboard", "wandb", "mlflow"}),
    ],
)
def test_a_topic_lists_its_names_with_a_line_each(topic: str, names: set[str]) -> None:
    lines = listing(topic).splitlines()
    assert lines[0] == topic
    assert names <= {line.split()[0] for line in lines[1:]}
    if topic != "tasks":
        assert all(len(line.split()) > 1 for line in lines[1:]), lines  # each says what it is


def test_older_names_of_topics_are_still_taken() -> None:
    assert listing("tokenizers") == listing("recipes")
    assert SYNONYMS.keys().isdisjoint(TOPICS)
    assert set(SYNONYMS.values()) <= set(TOPICS)


def test_everything_is_listed_without_a_topic() -> None:
    text = listing(None)
    assert [block.splitlines()[0] for block in text.split("\n\n")] == list(TOPICS)


def test_a_plan_for_people(mini: dict[str, Any]) -> None:
    text = plan_text(make_plan(load_suite(mini), {}), "text")
    head, first, second, _, bits, jobs, cost = text.splitlines()
    assert head.split() == ["cell", "tsr", "elements", "bits", "kbit/s", "parameters", "prior", "TFLOP"]
    assert first.startswith("shapes kl-vae seed=0 ")
    assert first.split()[3:6] == ["12", "64", "≤2048"]  # 64 float32
    assert second.split()[3:6] == ["48", "16", "≤96"]  # 16 codes of 6 bits
    assert bits == "bits: at most (≤); a run measures the real rate"
    assert jobs.startswith("2 cells, 16 jobs (1 data, ")
    assert cost.startswith("predicted: ")
    assert cost.endswith(" of one CPU core")


def test_a_plan_says_what_a_codec_aims_at(mini: dict[str, Any]) -> None:
    mini["data"] = {"name": "waveform", "modality": "waveform", "sample_rate": 8000, "seconds": 0.5}
    mini["tokenizers"] = [{"recipe": "opus", "grid": {"codec": {"bitrate": [6000, 12000]}}}]
    text = plan_text(make_plan(load_suite(mini), {}), "text")
    lines = [line.split() for line in text.splitlines()]
    assert [line[6:8] for line in lines[1:3]] == [["~3000", "~6"], ["~6000", "~12"]]
    assert "bits: at most (≤), or what a codec aims at (~); a run measures the real rate" in text
    rows = json.loads(plan_text(make_plan(load_suite(mini), {}), "json"))["cells"]
    assert [row["aimed_bits"] for row in rows] == [3000.0, 6000.0]
    assert rows[0]["bits_per_sample"] == rows[1]["bits_per_sample"] == 8 * (2 * 4000 + 1)  # raw, and a byte


def test_a_plan_for_programs(mini: dict[str, Any]) -> None:
    plan = make_plan(load_suite(mini | {"seeds": [0, 1]}), {})
    data = json.loads(plan_text(plan, "json"))
    assert (data["suite"], len(data["cells"]), data["jobs"]) == ("mini", 4, len(plan.jobs))
    assert data["flops"] == pytest.approx(sum(job.flops for job in plan.jobs.values()))
    row = data["cells"][0]
    assert {
        "cell",
        "dataset",
        "modality",
        "recipe",
        "seed",
        "tsr",
        "elements",
        "bits_per_sample",
        "parameters",
    } <= row.keys()
    assert (row["dataset"], row["modality"], row["tsr"], row["elements"]) == ("shapes", "image", 12, 64)


def test_a_plan_names_the_priors_and_their_budgets(mini: dict[str, Any]) -> None:
    mini["tokenizers"][1]["grid"] = {"prior": {"training": {"flops": [1e9, 2e9]}}}
    plan = make_plan(load_suite(mini), {})
    rows = json.loads(plan_text(plan, "json"))["cells"]
    assert [row["prior"] for row in rows] == ["flow", "ar", "ar"]
    assert [row["prior_flops"] for row in rows[1:]] == [1e9, 2e9]
    assert plan_text(plan, "text").splitlines()[2].split()[-2] == "ar"
