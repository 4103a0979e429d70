"""How a run goes on, read from a folder that a run is working on."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path

import pytest

from latentbench.results.activity import LOCK, mark_active
from latentbench.results.report.progress import devices, fingerprint, progress
from latentbench.results.rows import rows

from .conftest import write_run


def test_a_training_shows_its_step_and_its_loss_while_a_run_works_on_the_folder(tmp_path: Path) -> None:
    root = write_run(tmp_path / "out", ["image"])
    (root / "jobs/tokenizer/broken/record.json").unlink()
    folder = root / "jobs/tokenizer/broken"
    (folder / "config.json").write_text(json.dumps({"config": {"tokenizer": {"training": {"steps": 400}}}}))
    lines = [{"step": step, "loss": 1 / step, "samples_per_second": 50.0} for step in range(1, 101)]
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert progress([root], rows([root]))["training"] == []  # nothing works on it
    with (root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark_active(lock)
        os.utime(folder / "log" / "attempt-1.log", (2e9, 2e9))
        now = progress([root], rows([root]))
    assert (now["cells"], now["finished"], now["failed"], now["active"]) == (11, 10, 0, True)
    (one,) = now["training"]
    assert (one["title"], one["step"], one["of"], one["loss"], one["rate"]) == (
        "tokenizer broken",
        100,
        400,
        0.01,
        50.0,
    )
    assert one["losses"][0] == 1.0
    assert 2 <= len(one["losses"]) <= 100


def test_the_fingerprint_changes_with_every_record(tmp_path: Path) -> None:
    root = write_run(tmp_path / "out", ["image"])
    before = fingerprint([root])
    assert fingerprint([root]) == before
    record = root / "jobs/tokenizer/broken/record.json"
    content = record.read_bytes()
    record.unlink()
    gone = fingerprint([root])
    assert gone[0] == before[0] - 1
    record.write_bytes(content)
    assert fingerprint([root]) not in (before, gone)


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\nprint('NVIDIA A, B, 37, 1200\\nNVIDIA C, [N/A], 5')\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    cpu, gpu = devices()
    assert 0 <= cpu["use"] <= 1
    assert gpu == {"name": "NVIDIA A, B", "use": 0.37, "memory": 1200}
