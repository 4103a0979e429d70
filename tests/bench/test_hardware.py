"""Devices by name."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.bench import hardware
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.engines.local import LocalEngine
from latentbench.bench.jobs import Job
from latentbench.bench.runner import executed
from latentbench.results.errors import UserError
from latentbench.results.store import Store

TWO = [hardware.Gpu("Big", 80_000_000_000, "GPU-1f"), hardware.Gpu("Small", 10_000_000_000)]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/nvidiactl" or exists(path))
    monkeypatch.setattr(hardware, "gpus", lambda: TWO)
    monkeypatch.setattr(hardware, "cores", lambda: 16)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/dev/nvidiactl" and exists(path))
    monkeypatch.setattr(hardware, "gpus", list)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu() -> None:
    for name in ("auto", "cpu"):
        machine = hardware.machine(name)
        (device,) = machine.devices
        assert (device.name, device.units, machine.cores) == ("cpu", hardware.cores(), hardware.cores())
        assert 0 < device.memory < 1e15


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("jobs", "units"), [(1, 1), (1000, hardware.cores())])
def test_jobs_on_the_cpu_are_at_most_its_cores(jobs: int, units: int) -> None:
    machine = hardware.machine("cpu", jobs_per_device=jobs)
    assert machine.devices[0].units == units
    assert machine.cores == hardware.cores()  # thread counts, and so numbers, don't depend on packing


@pytest.mark.usefixtures("no_gpu")
def test_fewer_jobs_than_asked_for_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    settings = EngineSettings(store=Store(tmp_path), cache=tmp_path)
    assert LocalEngine(replace(settings, jobs_per_device=2)).notes == LocalEngine(settings).notes == ()
    console = Console(file=io.StringIO(), width=200)
    engine, job = LocalEngine(replace(settings, jobs_per_device=4)), Job(kind="fake", config={}, versions={})
    monkeypatch.setattr(LocalEngine, "run", lambda *_: (event for event in ()))
    for todo in ({}, {job.id: job}):
        executed(engine, todo, todo, console, before=0)
    said = console.file.getvalue()
    assert said.count("--jobs-per-device 4: on the CPU a job takes at least one core, so that 2 run\n") == 1


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("devices", "names"),
    [
        ("auto", ["cuda:0", "cuda:1"]),
        ("cuda", ["cuda:0", "cuda:1"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:1,0", ["cuda:1", "cuda:0"]),
        ("cpu", ["cpu"]),
    ],
)
def test_gpus_by_number(devices: str, names: list[str]) -> None:
    machine = hardware.machine(devices)
    assert [device.name for device in machine.main_devices] == names
    for device in machine.main_devices:
        if device.name != "cpu":
            assert device.units == 1
            assert device.uuid == TWO[int(device.name[-1])].uuid
            assert device.memory == int(TWO[int(device.name[-1])][1] * 0.9)


@pytest.mark.usefixtures("two_gpus")
def test_cpu_threads_of_jobs_on_gpus_don_t_depend_on_how_many_share_one() -> None:
    for jobs in (None, 1, 100):
        assert hardware.machine("cuda", jobs_per_device=jobs).host_threads == 2  # 16 cores, 2 devices of up to 4 jobs
        assert hardware.machine("cuda:0", jobs_per_device=jobs).host_threads == 4


@pytest.mark.usefixtures("two_gpus")
def test_beside_gpus_the_cpu_has_a_core_for_each_job_that_needs_none() -> None:
    for jobs, units in ((None, 14), (4, 8), (100, 1)):
        *gpus, beside = hardware.machine("cuda", jobs_per_device=jobs).devices
        assert ([gpu.name for gpu in gpus], beside.name, beside.units) == (["cuda:0", "cuda:1"], "cpu", units)
    assert [device.name for device in hardware.machine("cpu").devices] == ["cpu"]


@pytest.fixture
def mps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file by which MPS says that it runs."""
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    return tmp_path / "nvidia-cuda-mps-control.pid"


@pytest.mark.usefixtures("two_gpus")
def test_jobs_share_a_gpu_where_mps_runs(mps: Path) -> None:
    alone = (
        "one job at a time on each GPU: MPS does not run (nvidia-cuda-mps-control -d starts it, then small ones share)"
    )
    turns = "--jobs-per-device 3: MPS does not run, so that the jobs of a GPU take turns and share its memory"
    for content in (None, "not a number", "999999999"):
        if content:
            mps.write_text(content)
        assert {gpu.units for gpu in hardware.machine("cuda").main_devices} == {1}
        assert hardware.sharing(hardware.machine("cuda"), None) == alone
        assert hardware.sharing(hardware.machine("cuda", jobs_per_device=3), 3) == turns
    mps.write_text(f"{os.getpid()}\n")
    assert {gpu.units for gpu in hardware.machine("cuda").main_devices} == {4}
    assert hardware.sharing(hardware.machine("cuda"), None) == "MPS runs: up to 4 jobs of small steps share a GPU"
    assert hardware.sharing(hardware.machine("cuda", jobs_per_device=3), 3) == ""
    assert hardware.sharing(hardware.machine("cuda", jobs_per_device=1), 1) == ""
    assert hardware.sharing(hardware.machine("cpu"), None) == ""


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("devices", ["gpu", "cuda:", "cuda:x", "cuda:0,", "cpu:0", ""])
def test_a_name_that_is_none(devices: str) -> None:
    with pytest.raises(UserError, match=f"^--devices {devices}: expected auto, cpu, cuda, or cuda:0,1$"):
        hardware.machine(devices)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"^--devices cuda:0,2: there is no cuda:2; found 2 CUDA devices$"):
        hardware.machine("cuda:0,2")
    with pytest.raises(UserError, match=r"^--devices cuda:1,1: cuda:1 is named twice$"):
        hardware.machine("cuda:1,1")


@pytest.mark.usefixtures("no_gpu")
def test_no_gpu_at_all() -> None:
    with pytest.raises(UserError, match=r"^--devices cuda: no CUDA device was found$"):
        hardware.machine("cuda")
    with pytest.raises(UserError, match=r"^--devices cuda:0: no CUDA device was found$"):
        hardware.machine("cuda:0")


@pytest.mark.parametrize(
    ("code", "printed", "slots"),
    [(0, 'warning: something\n[["Big", 80000000000, "1f"]]\n', TWO[:1]), (1, "", []), (0, "", []), (0, "nonsense", [])],
)
def test_what_the_probe_prints(
    monkeypatch: pytest.MonkeyPatch, code: int, printed: str, slots: list[hardware.Gpu]
) -> None:
    def answer(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], code, printed, "")

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.gpus() == slots
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7, GPU-8")  # names that CUDA has taken are good ones
    assert [gpu.uuid for gpu in hardware.gpus()] == ["GPU-7"] * len(slots)


def test_a_gpu_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, "The NVIDIA driver on your system is too old\n", "")

    exists = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/dev/dxg" or exists(path))
    monkeypatch.setattr(hardware, "gpus", list)
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    line = "torch cannot use it (The NVIDIA driver on your system is too old): jobs run on the CPU"
    assert hardware.machine("auto").note == f"there is a GPU (/dev/dxg), and {line}"
    assert hardware.machine("auto").devices[0].name == "cpu"
    assert hardware.machine("cpu").note == ""
    assert LocalEngine(EngineSettings(store=Store(tmp_path), cache=tmp_path)).notes == (hardware.machine("auto").note,)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES hides it" in hardware.machine("auto").note


@pytest.mark.usefixtures("no_gpu")
def test_without_a_sign_of_a_gpu_there_is_nothing_to_say() -> None:
    assert hardware.unusable_gpu() == hardware.machine("auto").note == ""
