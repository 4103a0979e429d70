"""A job's identity."""

from __future__ import annotations

from typing import Any

import pytest

from latentbench.bench.jobs import Job
from latentbench.results.canonical import compact

FACTS: dict[str, Any] = {
    "kind": "tokenizer",
    "config": {"b": [1, 2.5], "a": {"x": None}},
    "versions": {"training": 1},
    "depends": {"data": "data/0123"},
}


def test_golden_key() -> None:
    # A key that moves makes every stored record worthless: it may only do so on purpose.
    assert Job(**FACTS).key == "da369b0fc9fee0c10168"
    assert Job(**FACTS).id == "tokenizer/da369b0fc9fee0c10168"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "prior"},
        {"config": {"b": [1, 2.5], "a": {"x": 0}}},
        {"config": {"b": [2.5, 1], "a": {"x": None}}},
        {"versions": {"training": 2}},
        {"versions": {"training": 1, "metric": 1}},
        {"depends": {"data": "data/0124"}},
        {"depends": {"other": "data/0123"}},
    ],
)
def test_whatever_can_change_a_number_changes_the_key(change: dict[str, Any]) -> None:
    assert Job(**FACTS | change).key != Job(**FACTS).key


def test_nothing_else_does() -> None:
    swapped = {"config": {"a": {"x": None}, "b": [1, 2.5]}}  # the order of keys
    shown = {"title": "t", "runtime": {"data": {"path": "/somewhere"}}, "flops": 1e9, "step_flops": 1.0, "memory": 1}
    assert Job(**FACTS | swapped | shown).key == Job(**FACTS).key
    assert Job(**FACTS | {"config": {"b": (1, 2.5), "a": {"x": None}}}).key == Job(**FACTS).key  # JSON has no tuples


def test_canonical_refuses_what_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        compact({"x": float("nan")})
