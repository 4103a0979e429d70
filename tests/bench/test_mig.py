"""Slices of GPUs, by listings as `nvidia-smi -L` prints them and a stand-in for the process that asks torch."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import hardware, mig
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.engines.local import LocalEngine
from latentbench.bench.jobs import Job
from latentbench.results.errors import UserError
from latentbench.results.store import Store

ONE, TWO, OLD = "GPU-5d5ba0d6-d33d", "GPU-9a1c77de-0b4e", "GPU-c7384736-a75d"
A, B, C, D = "MIG-c6d4f1ef-42e4", "MIG-cba663e8-9bed", "MIG-99abcdef-0123", f"MIG-{OLD}/7/0"
LISTING = f"""\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: {ONE})
  MIG 3g.20gb     Device  0: (UUID: {A})
  MIG 1g.5gb      Device  1: (UUID: {B})
  MIG 1g.5gb      Device  2: (UUID: {C})
GPU 1: NVIDIA A100-SXM4-40GB (UUID: {TWO})
GPU 2: A30 (an older driver) (UUID: {OLD})
  MIG 1c.2g.10gb+me Device  0: (UUID: {D})
"""
WHOLE = f"GPU 0: NVIDIA H200 (UUID: {ONE})\nGPU 1: NVIDIA H200 (UUID: {TWO})\n"
MEMORY = {A: 20_000_000_000, B: 5_000_000_000, C: 5_000_000_000, TWO: 40_000_000_000, D: 10_000_000_000}


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, [A, B, C, TWO, D]),
        ("0", [A, B, C]),
        ("1,2", [TWO, D]),
        (f"{C}, {A}", [C, A]),
        (f"{A},{A},0", [A, B, C]),
        (TWO, [TWO]),
        ("GPU-9,GPU-5d", [TWO, A, B, C]),
        ("GPU-,1", []),  # two have that beginning
        ("1,9,2", [TWO]),
        ("1,-1,2", [TWO]),
        ("", []),
        ("MIG-unlisted", ["MIG-unlisted"]),
    ],
)
def test_what_is_in_sight(visible: str | None, uuids: list[str]) -> None:
    assert [part.uuid for part in mig.devices(LISTING, visible)] == uuids


def test_slices_of_one_size_of_one_card_are_of_one_sort() -> None:
    a, b, c, whole, old = (part.sort for part in mig.devices(LISTING, None))
    assert a == "NVIDIA A100-SXM4-40GB MIG 3g.20gb"
    assert b == c == "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert old == "A30 (an older driver) MIG 1c.2g.10gb+me"
    assert whole == TWO


@pytest.mark.parametrize("listing", [WHOLE, "", "No devices were found\n", f"  MIG 1g.5gb Device 0: (UUID: {A})\n"])
def test_without_slices_cuda_numbers_the_devices(listing: str) -> None:
    assert mig.devices(listing, None) == mig.devices(listing, "0,1") == []
    assert [part.uuid for part in mig.devices("", f"{A},{B}")] == [A, B], "a container may have no nvidia-smi"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The slices for which a process was started to ask torch; it sees one, with the slice's memory."""
    seen: list[str] = []
    exists = os.path.exists

    def answer(command: list[str], *, env: dict[str, str] | None = None, **_: Any) -> subprocess.CompletedProcess[str]:
        if command[0] == "nvidia-smi":
            return subprocess.CompletedProcess(command, 0, LISTING, "")
        assert env is not None
        seen.append(env["CUDA_VISIBLE_DEVICES"])
        assert env["PATH"] == os.environ["PATH"]
        first = [[f"slice of {MEMORY[seen[-1]]}", MEMORY[seen[-1]], "0000"]] if seen[-1] != D else []
        return subprocess.CompletedProcess(command, 0, json.dumps(first), "")

    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl" or exists(path))
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(hardware, "cores", lambda: 16)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return seen


def test_each_slice_is_a_device_with_its_own_memory(asked: list[str]) -> None:
    devices = hardware.machine("auto").main_devices
    assert asked == [A, B, TWO, D], "one of each sort"
    assert [device.uuid for device in devices] == [A, B, C, TWO], "torch could not use the last"
    assert [device.name for device in devices] == [f"cuda:{i}" for i in range(4)]
    assert [device.memory for device in devices] == [int(MEMORY[uuid] * 0.9) for uuid in (A, B, C, TWO)]
    assert [device.uuid for device in hardware.machine("cuda:2,0").main_devices] == [C, A]


@pytest.mark.usefixtures("asked")
def test_a_job_for_several_devices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(kind="fake", config={}, versions={}, title="big", devices=2)
    settings = EngineSettings(store=Store(tmp_path), cache=tmp_path)
    with pytest.raises(UserError, match=r"^big: training.devices = 2, and this run has slices of GPUs \(MIG\), of wh"):
        LocalEngine(settings).check([job])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", TWO)
    with pytest.raises(UserError, match=r"^big: training.devices = 2, and this run has 1 CUDA device$"):
        LocalEngine(settings).check([job])


def test_without_the_program_there_is_no_listing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mig.listing() == ""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "listed with $1"\nexit ${CODE:-0}\n')
    program.chmod(0o755)
    assert mig.listing() == "listed with -L\n"
    monkeypatch.setenv("CODE", "9")
    assert mig.listing() == ""
