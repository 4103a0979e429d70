"""Metrics that are made when they are asked for are those that were measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latentbench.results.metric import Metric
from latentbench.results.metrics import Measured, Metrics

PSNR = Metric(name="psnr", value=20.5, se=0.1, interval=(20.25, 21.0), n=64, direction="higher", role="distortion")
BITS = Metric(name="bits", value=3, n=64, missing=2, protocol="é", shown="asked")
NONE = Metric(name="none", value=None, compared="shape")
ALL = (PSNR, BITS, NONE)


def test_a_records_metrics() -> None:
    measured = Measured.of(ALL)
    assert Measured.of(measured) is measured
    assert len(measured) == 3
    assert repr(measured) == repr(ALL)  # 3 and 3.0 differ
    assert measured == ALL == measured
    assert measured != ALL[:2]
    assert hash(measured) == hash(ALL)
    assert (measured[0], measured[-1], measured[1:]) == (PSNR, NONE, (BITS, NONE))
    with pytest.raises(IndexError):
        measured[3]
    assert Measured.of(()) == ()


def test_those_that_measure_the_same_have_numbers_of_their_own() -> None:
    heads = [replace(PSNR, value=7.0, interval=None), NONE]
    measured = Measured(heads, [1.5, None, None, None, 2, 0.5, 1.0, 3.0])
    assert measured[0] == replace(PSNR, value=1.5, se=None, interval=None)
    assert measured[1] == replace(NONE, value=2, se=0.5, interval=(1.0, 3.0))
    metrics = Metrics({"psnr": (4, PSNR), "prior_psnr": (0, PSNR)}, measured.numbers)
    assert [*metrics] == ["psnr", "prior_psnr"]
    assert metrics["psnr"] == replace(PSNR, value=2, se=0.5, interval=(1.0, 3.0))
    assert metrics.value("prior_psnr") == 1.5
    assert metrics.numbers_of("psnr") == [2, 0.5, 1.0, 3.0]


def test_a_rows_metrics() -> None:
    by_name = {"psnr": PSNR, "prior_bits": BITS, "none": NONE}
    metrics = Metrics.of(by_name)
    assert Metrics.of(metrics) is metrics
    assert metrics == by_name
    assert repr(dict(metrics)) == repr(by_name)
    assert ("psnr" in metrics, "bits" in metrics, metrics.get("bits")) == (True, False, None)
    assert [metrics.value(name) for name in metrics] == [20.5, 3, None]
    with pytest.raises(KeyError):
        metrics["bits"]
