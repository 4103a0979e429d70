"""Fake-CUDA traces: no mixed devices, no waiting in a step, and budgets that only move on purpose.

What `traces.json` holds of every recipe, prior, net and metric is frozen; when it moves on purpose, write it anew:

    LATENTBENCH_UPDATE_TRACES=1 python -P -m pytest tests/gpu

It is written forwards and compared backwards: a trace that depends on those before it differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
TABLE = FOLDER / "traces.json"
GROUPS = ("recipes", "priors", "others")
UPDATE = bool(os.environ.get("LATENTBENCH_UPDATE_TRACES"))

# Places where encoding or decoding waits for the device, and why: whatever else does is a fault.
WAITING = {
    "tokenizers/sequence_coding": "the lengths of sequences decide the shapes",
    "tokenizers/mel.py": "torch's istft looks whether the window leaves gaps",
}


@pytest.fixture(scope="module")
def traces() -> dict[str, dict[str, Any]]:
    """By group and name all traces, made once, one after another, by another process."""
    command = [sys.executable, "-P", str(FOLDER / "tracing.py"), *([] if UPDATE else ["--backwards"])]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    result: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for line in answer.stdout.splitlines():
        group, name, item = json.loads(line)
        result[group][name] = item
    return result


def frozen(group: str) -> dict[str, Any]:
    return json.loads(TABLE.read_text())[group]


def faults(traced: dict[str, Any]) -> list[str]:
    """What must never be: errors (mixed devices), waiting and copies that wait in a step or a batch."""
    lines = []
    for name, item in traced.items():
        if "error" in item:
            lines.append(f"{name}: {item['error']}")
        step = item if "nondeterministic" in item else {}
        evaluation = item.get("evaluation", {}) if step else item
        waiting = evaluation.get("untraceable", "")
        if waiting and not any(place in waiting for place in WAITING):
            lines.append(f"{name}: {waiting}")
        for part, allowed in ((step, ()), (evaluation, WAITING)):
            for kind in ("synchronisations", "blocking copies"):
                places = [place for place in part.get(kind, {}) if not any(known in place for known in allowed)]
                lines += [f"{name}: {kind} {place}" for place in places]
    return list(dict.fromkeys(lines))


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each number that has moved; what could not be traced here (no weights) is passed over."""
    return [
        f"{name}: {key} was {before.get(name, {}).get(key)} and is {value}"
        for name, item in now.items()
        if "skipped" not in item
        for key, value in item.items()
        if before.get(name, {}).get(key) != value
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute of CPU, in whichever test comes first
@pytest.mark.parametrize("group", GROUPS)
def test_all_traces(group: str, traces: dict[str, dict[str, Any]]) -> None:
    now = traces[group]
    if UPDATE:
        table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
        skipped = {name: table.get(group, {}).get(name, item) for name, item in now.items() if "skipped" in item}
        table[group] = now | skipped
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    assert faults(now) == []
    assert differences(frozen(group), now) == []
    assert frozen(group).keys() == now.keys()


def test_the_table_has_no_fault() -> None:
    for group in GROUPS:
        assert faults(frozen(group)) == []


@pytest.mark.parametrize(("group", "name"), [("recipes", "kl-vae"), ("recipes", "ae"), ("priors", "unet")])
def test_channels_last_arrives_at_every_convolution(group: str, name: str) -> None:
    assert frozen(group)[name]["convolutions"].keys() == {"alike"}


def test_what_counts_as_a_fault() -> None:
    fine = {"synchronisations": {}, "blocking copies": {}}
    assert faults({"a": fine, "b": {"untraceable": "the host waits for data in tokenizers/mel.py LogMel"}}) == []
    assert faults({"a": fine | {"blocking copies": {"x.py f": 2}}}) == ["a: blocking copies x.py f"]
    assert faults({"a": {"error": "devices are mixed"}}) == ["a: devices are mixed"]
    step = fine | {"nondeterministic": {}, "evaluation": fine | {"synchronisations": {"x.py f": 1}}}
    assert faults({"a": step}) == ["a: synchronisations x.py f"]
    assert differences({"a": {"operators": 3}}, {"a": {"operators": 4}}) == ["a: operators was 3 and is 4"]
    assert differences({"a": {"operators": 3}}, {"a": {"skipped": "no weights"}}) == []
