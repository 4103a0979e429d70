"""The scores that a suite asks for, from references on disk to a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.bench.plan import make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.store import Store
from latentbench.tasks.config import GenerationConfig
from latentbench.tasks.distances import Reference
from latentbench.tasks.interface import FeatureNet
from latentbench.tasks.metrics import scores
from latentbench.tasks.metrics.interface import SampleSet
from latentbench.tasks.scores import check_nets, sample_scores


class Net(FeatureNet):
    name, dim, protocol = "net", 4, "four numbers"

    def forward(self, signal: Tensor) -> Tensor:
        return signal.flatten(1)[:, :4]


def test_a_reference_keeps_the_radii_of_its_balls(tmp_path: Path) -> None:
    features = torch.randn(30, 4)
    built = Reference.of(features, "train")
    built.save(tmp_path)
    loaded = Reference.load(tmp_path, "train")
    assert torch.equal(loaded.manifold.radii, built.manifold.radii)
    assert torch.equal(loaded.manifold.features, features)
    Reference.of(features[:4], "train").save(tmp_path)  # too few for five neighbours
    assert Reference.load(tmp_path, "train").manifold is None


def test_scores_by_name() -> None:
    x, train, val = torch.randn(80, 4), torch.randn(90, 4), torch.randn(50, 4)
    splits = {("net", name): Reference.of(part, name) for name, part in (("train", train), ("val", val))}

    def sample_set(features: Tensor) -> SampleSet:
        reference = splits["net", "train"]
        return SampleSet(net=Net(), features=features, reference=reference, splits=splits, note="through a horn")

    def named(*names: str) -> list[str]:
        metrics, _ = sample_scores(names, sample_set(x))
        assert all("four numbers" in m.protocol for m in metrics)
        assert all("through a horn" in m.protocol for m in metrics)
        return [m.name for m in metrics]

    assert named() == []
    assert named("manifold") == ["precision_net", "recall_net", "density_net", "coverage_net"]
    assert named("memorisation") == [
        "nearest_train_ratio_net",
        "memorised_share_net",
        "nearest_sample_ratio_net",
    ]
    assert named("fd_infinity") == ["fd_infinity_net"]
    assert named("inception_score") == []  # of the Inception alone
    _, extra = sample_scores(scores.names(), sample_set(train[:20]))
    assert extra["closest_to_training"][0] == {"sample": 0, "train": 0, "distance": 0.0}


def test_inception_scores_take_their_names_and_need_the_classifier() -> None:
    net, x = Net(), torch.randn(80, 4)
    net.name = "inception"
    reference = Reference.of(torch.randn(90, 4), "train")
    samples = SampleSet(net=net, features=x, reference=reference, splits={})
    with pytest.raises(UserError, match="inception_score needs a classifier, which the net's weights file lacks"):
        check_nets(("inception_score",), {"inception": net})
    net.classifier = torch.randn(7, 4)
    metrics, _ = sample_scores(("inception_score", "fd_infinity"), samples)
    assert [m.name for m in metrics] == ["inception_score", "fid_infinity"]


SUITE: dict[str, Any] = {
    "name": "scores",
    "data": {"size": 8, "samples": 48, "val": 24},
    "tokenizers": [{"recipe": "pca", "channels": 4}],
    "tasks": ["generation"],
    "features": ["encoder"],
    "encoder": {"dim": 8, "width": 4, "training": {"steps": 2, "batch_size": 8}},
    "prior": {"training": {"steps": 2, "batch_size": 8}, "flow": {"width": 16, "layers": 1, "steps": 2}},
    "generation": {"samples": 32, "batch_size": 16, "scores": ["manifold", "memorisation"]},
}


def changed(**generation: Any) -> dict[str, Any]:
    return SUITE | {"generation": SUITE["generation"] | generation}


def plan(suite: dict[str, Any]) -> Any:
    loaded = load_suite(suite)
    return make_plan(loaded, {data.label: "f" for data in loaded.data})


def test_generation_reads_both_splits() -> None:
    def roles(**generation: Any) -> set[str]:
        (job,) = (job for job in plan(changed(**generation)).jobs.values() if job.kind == "generation")
        return {role for role in job.depends if "reference" in role}

    assert roles(scores=["memorisation"]) == {"reference.encoder", "train_reference.encoder"}
    assert roles(scores=[], reference="train") == {"reference.encoder", "val_reference.encoder"}


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        (
            {"scores": ["fd_infinity"]},
            r"generation: scores: fd_infinity needs generation.samples of at least 128 .*got 32",
        ),
        ({"scores": ["inception_score"]}, r"generation: scores: inception_score needs inception among .* features"),
        ({"scores": ["manifolds"]}, r"generation.scores\[0\]: unknown score 'manifolds'; did you mean 'manifold'"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_run(generation: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        plan(changed(**generation))
    assert "\n" not in str(error.value)


def test_no_scores_is_the_default() -> None:
    assert GenerationConfig().scores == ()


@pytest.mark.slow
def test_a_suite_that_asks_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    run_suite(SUITE, out=tmp_path / "out", engine="inline")
    (job,) = (record for record in Store(tmp_path / "out").iterate() if record.kind == "generation")
    metrics, net = {metric.name: metric for metric in job.metrics}, "encoder_supervised"
    assert {f"gfd_{net}", f"precision_{net}", f"coverage_{net}", f"memorised_share_{net}"} <= metrics.keys()
    assert metrics[f"precision_{net}"].n == 24  # as many as the reference, the validation split, has
    assert len(job.extra[f"closest_to_training_{net}"]) == 8
    assert "sampler" in job.extra
