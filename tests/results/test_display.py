from __future__ import annotations

import math

import pytest

from latentbench.results.display import brief, compact, measured, show


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (24.1934, 0.1234, ("24.19", "0.12")),
        (24.1934, 1.26, ("24.2", "1.3")),
        (24.1934, 31.0, ("24", "31")),
        (123.4, 456.0, ("123", "456")),
        (-0.00123, 0.00045, ("-0.00123", "0.00045")),
        (1.0, 1e-9, ("1.000000", "0.000000")),
        (2e-5, 1e-6, ("2.000e-05", "1.0e-06")),
        (3.2e7, 1e5, ("3.200e+07", "1.0e+05")),
        (24.1934, 0.0, ("24.19", "0")),
        (24.1934, None, ("24.19", "")),
        (24.1934, math.inf, ("24.19", "")),
    ],
)
def test_measured(value: float, half: float | None, expected: tuple[str, str]) -> None:
    assert measured(value, half) == expected


def test_brief_and_compact() -> None:
    assert [brief(x) for x in (12.0, 163.2, 0.166667, 1e7, 5.33333, 3072)] == [
        "12",
        "163.2",
        "0.1667",
        "1e+07",
        "5.333",
        "3072",
    ]
    assert [compact(x) for x in (41, 41_000, 1_234_567, 3e12)] == ["41", "41k", "1.23M", "3T"]


def test_show() -> None:
    assert [show(x) for x in (None, 4, [8, 5, 5], 1e-6, True, "kl")] == ["", "4", "8,5,5", "1e-06", "True", "kl"]
