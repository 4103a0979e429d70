"""Distances, named for what they are."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latentbench.tasks.distances import Reference, distances, paired_distances
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.metrics.kid import kid


@pytest.mark.parametrize(
    ("net", "prefix", "names"),
    [
        ("pixels", "r", ["rfd_pixels", "rkd_pixels"]),
        ("encoder_selfsup", "g", ["gfd_encoder_selfsup", "gkd_encoder_selfsup"]),
        ("inception", "r", ["rfid", "rkid"]),
        ("inception", "g", ["gfid", "gkid"]),
    ],
)
def test_only_the_real_inception_earns_the_name_fid(
    toys: SimpleNamespace, net: str, prefix: str, names: list[str]
) -> None:
    features = torch.randn(30, 12)
    reference = Reference.of(torch.randn(40, 12), "val")
    if prefix == "r":
        results, _ = paired_distances(toys.Pixels(net), features, reference, note="through a wire")
    else:
        results = distances(prefix, toys.Pixels(net), features, reference, note="through a wire", seed=0)
    assert [metric.name for metric in results] == names
    for metric in results:
        assert metric.protocol.startswith("quarters; reference: val split; through a wire; ")
        assert metric.direction == "lower"
        assert (metric.shown == "first") == (metric is results[0])  # Fréchet distances lead in tables
        assert metric.n == 30
        assert metric.blind_to == "what a quarter holds"


def test_values_are_the_metrics_own(toys: SimpleNamespace) -> None:
    features, known = torch.randn(300, 12), torch.randn(250, 12) + 0.5
    frechet, kernel = distances("g", toys.Pixels(), features, Reference.of(known, "train"), seed=3)
    assert frechet.value == pytest.approx(frechet_distance(features, FrechetReference.of(known)))
    assert kernel.value == pytest.approx(kid(features, known, seed=3)[0])


def test_equal_sets_are_at_no_distance(toys: SimpleNamespace) -> None:
    features = torch.randn(60, 12)
    (frechet, kernel), left_out = paired_distances(toys.Pixels(), features, Reference.of(features, "val"))
    assert frechet.value == pytest.approx(0, abs=1e-6)
    assert kernel.value == pytest.approx(0, abs=1e-12)
    assert left_out.keys() == {"rfd_pixels", "rkd_pixels"}
    assert left_out["rkd_pixels"] == pytest.approx([0.0] * 20, abs=1e-12)


def test_a_reference_survives_the_disk(toys: SimpleNamespace, tmp_path: Path) -> None:
    features, known = torch.randn(30, 12), torch.randn(40, 12)
    built = Reference.of(known, "train")
    built.save(tmp_path)
    read = Reference.load(tmp_path, "train")
    values = [[m.value for m in distances("g", toys.Pixels(), features, r, seed=0)] for r in (built, read)]
    assert values[0] == values[1]


def test_a_kernel_distance_of_large_sets_reads_all_classes(toys: SimpleNamespace) -> None:
    # In class order: the first 2,048 of each side would be of one class, and equal.
    labels = torch.arange(4096) // 2048
    known = torch.randn(4096, 12) + 5.0 * labels[:, None]
    samples = torch.randn(4096, 12)
    _, kernel = distances("g", toys.Pixels(), samples, Reference.of(known, "train"), seed=0)
    assert kernel.value is not None
    assert kernel.value > 1000
