"""Tables say what an entry differs from its recipe in."""

from __future__ import annotations

from typing import Any

import pytest

from latentbench.bench.grid import cells
from latentbench.bench.suite import load_suite
from latentbench.results.groups import Group


def named(*tokenizers: dict[str, Any]) -> list[tuple[str, str]]:
    """Recipe and label of the cells of these entries."""
    table = {"name": "labels", "data": {"size": 16}, "tokenizers": list(tokenizers)}
    return [(cell.recipe, cell.label) for cell in cells(load_suite(table))]


SMALL: dict[str, Any] = {"recipe": "vq-vae", "downsample": 4}


@pytest.mark.parametrize(
    ("entry", "recipe", "label"),
    [
        (SMALL, "vq-vae", "vq-vae"),
        (SMALL | {"width": 8}, "vq-vae", "vq-vae"),  # sizes have columns of their own
        (SMALL | {"bottleneck": {"kind": "fsq"}}, "vq-vae", "vq-vae bottleneck=fsq"),
        (SMALL | {"bottleneck": {"kind": "vq"}}, "vq-vae", "vq-vae"),
        (SMALL | {"bottleneck": {"kind": "fsq"}, "label": "mine"}, "vq-vae", "mine"),
        (SMALL | {"corruption": {"kind": "noise"}, "prior": "maskgit"}, "vq-vae", "vq-vae corruption=noise + maskgit"),
        (SMALL | {"losses": {"l1": 0.0, "l2": 1.0}}, "vq-vae", "vq-vae losses=l2"),
        (SMALL | {"regularisers": {"equivariance": 0.0}}, "vq-vae", "vq-vae"),
        (SMALL | {"regularisers": {"equivariance": 1.0}}, "vq-vae", "vq-vae regularisers=equivariance"),
        ({"recipe": "identity", "codec": {"kind": "jpeg"}}, "jpeg", "jpeg"),
        ({"recipe": "identity", "codec": {"kind": "jpeg"}, "label": "mine"}, "jpeg", "mine"),
    ],
)
def test_other_parts_are_named(entry: dict[str, Any], recipe: str, label: str) -> None:
    assert named(entry) == [(recipe, label)]


def test_entries_of_one_recipe_say_how_they_differ() -> None:
    wide, narrow = SMALL | {"width": 16}, SMALL | {"width": 8}
    assert named(SMALL, wide) == [("vq-vae", "vq-vae"), ("vq-vae", "vq-vae width=16")]
    assert [label for _, label in named(narrow, wide)] == ["vq-vae width=8", "vq-vae width=16"]
    prior = {"prior": {"training": {"steps": 7}}}
    assert [label for _, label in named(SMALL, SMALL | prior)] == ["vq-vae", "vq-vae prior.training.steps=7"]


def test_entries_that_differ_in_nothing_are_numbered() -> None:
    assert [label for _, label in named(SMALL, SMALL)] == ["vq-vae", "vq-vae#2"]


def test_a_model_of_ones_own_is_no_identity() -> None:
    ((recipe, label),) = named({"recipe": "identity", "codec": {"kind": "jpeg"}, "label": "my model"})
    group = Group(suite="s", dataset="d", modality="image", recipe=recipe, label=label, axes={}, rows=())
    assert group.title == "my model (jpeg)"
