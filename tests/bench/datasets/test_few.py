"""A plan of many files decodes a few of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from latentbench.bench.datasets import DataConfig, few, open_dataset
from latentbench.bench.datasets.few import look_at_few
from latentbench.results.errors import UserError


def test_counts_are_inferred(photos: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(source="folder", path=str(photos(40)), size=16, crop="tiles", per_file=3, val=0.25)
    assert look_at_few(config, cache=cache) is None
    monkeypatch.setattr(few, "MANY", 30)
    facts = json.loads(look_at_few(config, cache=cache) or "")
    exact = open_dataset(config, cache=cache)
    assert (facts["train"], facts["val"]) == (len(exact.train), len(exact.val)) == (90, 30)
    assert facts["files"] == {"files": 40, "used": 40, "skipped": 0, "duplicates": 0}
    assert (facts["reasons"], facts["looked_at"]) == ({}, 16)


def test_what_cannot_be_used_counts(photos: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few, "MANY", 10)
    root = photos(16)
    for i in range(16, 32):
        (root / f"{i}.jpg").write_bytes(b"\xff\xd8\xff" + bytes([i]))
    facts = json.loads(look_at_few(DataConfig(source="folder", path=str(root), size=16, val=4), cache=cache) or "")
    bad = sum(facts["reasons"].values())
    assert 0 < bad < 16
    assert facts["files"]["used"] == round(32 * (1 - bad / 16)) == facts["train"] + 4
    for i in range(16):
        (root / f"{i}.jpg").unlink()
    with pytest.raises(UserError, match=r"none of 16 of the 16 files in .* can be used: 16 "):
        look_at_few(DataConfig(source="folder", path=str(root), size=16, val=4), cache=cache)
