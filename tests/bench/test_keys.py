"""The ids of all jobs of every shipped suite. A key that moves makes the records stored under it worthless.

A key moves on purpose when a version counts up; then write the digests anew, and say in the commit what moved:

    LATENTBENCH_UPDATE_GOLDEN=1 python -P -m pytest tests/bench/test_keys.py
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite, suite_names

PATH = Path(__file__).parent / "keys.json"
Digests = dict[str, dict[str, str]]


def digest(suite: str) -> dict[str, str]:
    """By kind: how many jobs, and a digest of their sorted ids; "all" of all kinds together.

    Data sets have the fingerprint "f", so that no data are needed.
    """
    loaded = load_suite(suite)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name, job in make_plan(loaded, {data.label: "f" for data in loaded.data}).jobs.items():
        by_kind[job.kind].append(name)
    by_kind["all"] = [name for names in by_kind.values() for name in names]
    return {
        kind: f"{len(names)} {hashlib.sha256(' '.join(sorted(names)).encode()).hexdigest()[:16]}"
        for kind, names in sorted(by_kind.items())
    }


def moved(before: Digests, now: Digests) -> list[str]:
    """One line for every suite that differs, with the kinds that do."""
    lines = []
    for suite in sorted(before.keys() | now.keys()):
        old, new = before.get(suite, {}), now.get(suite, {})
        kinds = sorted(kind for kind in (old.keys() | new.keys()) - {"all"} if old.get(kind) != new.get(kind))
        if kinds or old.get("all") != new.get("all"):
            lines.append(f"{suite}: {', '.join(kinds)} ({old.get('all', 'new suite')} -> {new.get('all', 'gone')})")
    return lines


def test_no_key_of_a_shipped_suite_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LATENTBENCH_WEIGHTS", "TORCH_HOME"):  # the keys are those of a machine without weights
        monkeypatch.setenv(variable, str(tmp_path))
    now = {suite: digest(suite) for suite in suite_names()}
    if os.environ.get("LATENTBENCH_UPDATE_GOLDEN"):
        PATH.write_text(json.dumps(now, indent=1) + "\n")
    lines = moved(json.loads(PATH.read_text()), now)
    message = "job keys moved, so stored records are lost to these suites (see this file's head if that is intended):"
    assert not lines, "\n".join([message, *lines])


def test_what_moved_is_named() -> None:
    before = {"a": {"all": "2 x", "data": "1 d", "prior": "1 p"}, "b": {"all": "1 y", "data": "1 d"}}
    now = {"a": {"all": "2 z", "data": "1 d", "prior": "1 q"}, "b": {"all": "1 y", "data": "1 d"}, "c": {"all": "0 -"}}
    assert moved(before, before) == []
    assert moved(before, now) == ["a: prior (2 x -> 2 z)", "c:  (new suite -> 0 -)"]
