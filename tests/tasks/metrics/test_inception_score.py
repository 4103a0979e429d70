from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.inception_score import classifier, inception_score, inception_score_metric, logits_of


def test_closed_forms() -> None:
    assert inception_score(torch.zeros(40, 10)) == pytest.approx(1)  # nothing is known of any sample
    assert inception_score(torch.eye(10).repeat(4, 1) * 1000) == pytest.approx(10)  # all classes, each for certain
    assert inception_score(torch.eye(10)[:1].repeat(40, 1) * 1000) == pytest.approx(1)  # one class


def test_equals_torch_fidelity() -> None:
    fidelity = pytest.importorskip("torch_fidelity.metric_isc")
    logits = torch.randn(200, 12) * 2
    theirs = fidelity.isc_features_to_metric(logits, splits=1, shuffle=False)["inception_score_mean"]
    assert inception_score(logits) == pytest.approx(theirs, rel=1e-6)
    # they take runs of samples as splits, ours deals by turns
    order = torch.cat([torch.arange(200)[i::10] for i in range(10)])
    theirs = fidelity.isc_features_to_metric(logits[order], splits=10, shuffle=False)["inception_score_mean"]
    metric = inception_score_metric(logits, protocol="net")
    assert metric.value == pytest.approx(theirs, rel=1e-6)
    assert metric.interval[0] < metric.value < metric.interval[1]
    assert "10 splits of 200 samples" in metric.protocol


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    metrics = [inception_score_metric(torch.randn(400, 8) * 2, protocol="") for _ in range(25)]
    spread = float(torch.tensor([m.value for m in metrics]).std())
    assert 0.6 < float(torch.tensor([m.se for m in metrics]).mean()) / spread < 1.7


def test_few_or_broken_samples() -> None:
    logits = torch.randn(41, 8)
    logits[3] = float("nan")
    metric = inception_score_metric(logits, protocol="")
    assert (metric.n, metric.missing) == (40, 1)
    assert inception_score_metric(logits[:19], protocol="").value is None


def test_weights_without_a_classifier_are_refused() -> None:
    weight = torch.randn(5, 4)
    assert torch.equal(classifier({"fc.weight": weight}), weight)
    features = torch.randn(3, 4)
    torch.testing.assert_close(logits_of(features, weight), features @ weight.t())
    with pytest.raises(UserError, match=r"^suite.toml: inception_score needs .* and w.pth has no fc.weight$"):
        classifier({}, path="w.pth", where="suite.toml")
    with pytest.raises(UserError, match=r"in w.pth fc.weight is the same for all classes$"):
        classifier({"fc.weight": torch.zeros(5, 4)}, path="w.pth")


def test_the_shared_file_has_none(shared_data: Path) -> None:
    path = shared_data / "weights" / "fid_inception_2015-12-05_nofc.safetensors"
    if not path.exists():
        pytest.skip(f"not present: {path}")
    with pytest.raises(UserError, match=r"has no fc.weight"):
        classifier(load_file(path), path=path)
