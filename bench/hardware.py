"""Devices and how much of each a run may use. Torch-free: GPUs are asked for in a process of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..results.errors import UserError
from . import cgroup, mig

SHARING = 4  # small jobs on a GPU, where MPS runs

_PROBE = """
import json, torch
devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps([[d.name, d.total_memory, str(getattr(d, "uuid", ""))] for d in devices]))
"""
_REASON = """
import torch
try:
    torch.cuda.init()
except Exception as error:
    print(" ".join(str(error).split()))
"""

# Signs that a GPU is there: NVIDIA's driver, WSL2, ROCm.
_SIGNS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


class Gpu(NamedTuple):
    """A CUDA device, a GPU or a slice of one: name, bytes of memory, and how CUDA_VISIBLE_DEVICES may name it ("" where
    that is not known)."""

    name: str
    memory: int
    uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class Device:
    """`name` "cpu" or "cuda:N"; `units` cores of a CPU, jobs at a time of a GPU; `memory` bytes for jobs;
    `uuid` is how CUDA_VISIBLE_DEVICES names it, "" where that is not known."""

    name: str
    units: int
    memory: int
    title: str = ""
    uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The devices of a run, the CPU's cores, and the CPU threads of a job on a GPU; `note` is a line to be said. Beside
    GPUs the last device is the CPU, for jobs to which a GPU would be of no use."""

    devices: tuple[Device, ...]
    cores: int
    host_threads: int = 1
    note: str = ""

    @property
    def main_devices(self) -> tuple[Device, ...]:
        """The GPUs, or the CPU where there is none."""
        return tuple(device for device in self.devices if device.name != "cpu") or self.devices

    @property
    def sliced(self) -> bool:
        """Whether one of its devices is a slice of a GPU."""
        return any(device.uuid.startswith(mig.PREFIX) for device in self.devices)

    @property
    def places(self) -> int:
        """How many devices a job can have: GPUs, or cores of a CPU. NCCL takes two slices of a GPU for one device."""
        if self.devices[0].name == "cpu":
            return self.cores
        return 1 if self.sliced else len(self.main_devices)


def cores() -> int:
    """CPU cores that this process may use."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(own, cgroup.core_limit() or own)


def gpus() -> list[Gpu]:
    """Every CUDA device, slices of GPUs included, asked for in fresh processes (this one must not touch CUDA)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if parts := mig.devices(mig.listing(), visible):
        return _sliced(parts)
    listed = (visible or "").split(",")
    return [
        Gpu(name, memory, listed[i].strip() if listed[0] and i < len(listed) else f"GPU-{uuid}" if uuid else "")
        for i, (name, memory, uuid) in enumerate(_probe(visible))
    ]


def _sliced(parts: Sequence[mig.Listed]) -> list[Gpu]:
    """Slices of GPUs, and GPUs beside them, as devices: one of each sort is asked for, alone in sight of a process."""
    of_sort: dict[str, list[tuple[str, int, str]]] = {}
    for part in parts:
        if part.sort not in of_sort:
            of_sort[part.sort] = _probe(part.uuid)[:1]
    return [Gpu(name, memory, part.uuid) for part in parts for name, memory, _ in of_sort[part.sort]]


def _probe(visible: str | None) -> list[tuple[str, int, str]]:
    """Name, bytes of memory and UUID of each device that torch sees where CUDA_VISIBLE_DEVICES is `visible`."""
    environment = os.environ | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    command = [sys.executable, "-P", "-c", _PROBE]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    try:
        return [*map(tuple, json.loads(answer.stdout.splitlines()[-1]))] if answer.returncode == 0 else []
    except (IndexError, ValueError):
        return []


def unusable_gpu() -> str:
    """Why no GPU can be used although one seems to be there; "" where there is no sign of one."""
    sign = next((sign for sign in _SIGNS if os.path.exists(sign)), None)
    if sign is None:
        return ""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return f"there is a GPU ({sign}), and CUDA_VISIBLE_DEVICES hides it: jobs run on the CPU"
    answer = subprocess.run([sys.executable, "-P", "-c", _REASON], capture_output=True, text=True, check=False)
    reason = (answer.stdout.splitlines() or ["torch does not say why"])[-1]
    return f"there is a GPU ({sign}), and torch cannot use it ({reason}): jobs run on the CPU"


def machine(devices: str = "auto", *, jobs_per_device: int | None = None) -> Machine:
    """The machine for `--devices`: "auto" (all GPUs, else the CPU), "cpu", "cuda", "cuda:0,1".

    `jobs_per_device`: how many jobs share a GPU (default: 4 where MPS runs, without it 1), or run at a time on the CPU
    (default: a core each). Beside GPUs the CPU takes the jobs that need none, a core each of those that are left when
    each job on a GPU has one. Raises UserError for a device that is not there, and as
    `deterministic` does.
    """
    deterministic()
    cpu = Device(name="cpu", units=cores(), memory=int(_free_memory() * 0.85), title="CPU")
    if devices == "cpu" or (devices == "auto" and not any(os.path.exists(sign) for sign in _SIGNS)):
        if jobs_per_device is not None:
            cpu = Device(name="cpu", units=max(1, min(cpu.units, jobs_per_device)), memory=cpu.memory, title="CPU")
        return Machine(devices=(cpu,), cores=cores())
    match = re.fullmatch(r"auto|cuda(?::(\d+(?:,\d+)*))?", devices)
    if match is None:
        raise UserError(f"--devices {devices}: expected auto, cpu, cuda, or cuda:0,1")
    present = gpus()
    if not present and devices == "auto":
        return Machine(devices=(cpu,), cores=cores(), note=unusable_gpu())
    if not present:
        raise UserError(f"--devices {devices}: no CUDA device was found")
    numbers = [int(i) for i in match[1].split(",")] if match[1] else list(range(len(present)))
    for i in numbers:
        if i >= len(present):
            raise UserError(f"--devices {devices}: there is no cuda:{i}; found {len(present)} CUDA devices")
        if numbers.count(i) > 1:
            raise UserError(f"--devices {devices}: cuda:{i} is named twice")
    jobs = jobs_per_device or (SHARING if mps_runs() else 1)
    beside = max(1, cores() - jobs * len(numbers))
    return Machine(
        devices=(
            *(
                Device(
                    name=f"cuda:{i}",
                    units=jobs,
                    memory=int(present[i].memory * 0.9),
                    title=present[i].name,
                    uuid=present[i].uuid,
                )
                for i in numbers
            ),
            Device(name="cpu", units=beside, memory=cpu.memory // 2, title="CPU"),
        ),
        cores=cores(),
        host_threads=max(1, cores() // (SHARING * len(numbers))),  # numbers may depend on it, so it is one for all
    )


def planned_machine(devices: str) -> Machine:
    """The machine that a plan is for: one that is here, as `machine` says, or "8x80", so many GPUs of so many GB each
    (10⁹ bytes) wherever they are. They do a job at a time, and have eight cores and 32 GB beside them each."""
    match = re.fullmatch(r"(\d+)x(\d+)", devices)
    if match is None:
        return machine(devices)
    count, memory = int(match[1]), int(int(match[2]) * 0.9e9)
    title = f"GPU of {match[2]} GB elsewhere"
    gpus = tuple(Device(name=f"cuda:{i}", units=1, memory=memory, title=title) for i in range(count))
    cpu = Device(name="cpu", units=7 * count, memory=count * 32 * 10**9, title="CPU")
    return Machine(devices=(*gpus, cpu), cores=8 * count, host_threads=2)


def mps_runs() -> bool:
    """Whether the control daemon of NVIDIA's Multi-Process Service runs: only then do kernels of several processes run
    on a GPU at the same time."""
    folder = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    try:
        os.kill(int((folder / "nvidia-cuda-mps-control.pid").read_text()), 0)
    except PermissionError:  # it is another user's
        return True
    except (OSError, ValueError):
        return False
    return True


def notes(machine: Machine, jobs_per_device: int | None) -> tuple[str, ...]:
    """What is to be said of the machine before a run, a line each."""
    lines = (machine.note, capped(machine, jobs_per_device), sharing(machine, jobs_per_device))
    return tuple(line for line in lines if line)


def sharing(machine: Machine, jobs_per_device: int | None) -> str:
    """A line on how many jobs share a GPU; "" where nobody would wonder."""
    if machine.devices[0].name == "cpu" or jobs_per_device == 1:
        return ""
    runs = mps_runs()
    if jobs_per_device is not None:
        turns = "MPS does not run, so that the jobs of a GPU take turns and share its memory"
        return "" if runs else f"--jobs-per-device {jobs_per_device}: {turns}"
    if runs:
        return f"MPS runs: up to {SHARING} jobs of small steps share a GPU"
    return (
        "one job at a time on each GPU: MPS does not run (nvidia-cuda-mps-control -d starts it, then small ones share)"
    )


def deterministic() -> str:
    """What `LATENTBENCH_DETERMINISTIC` asks of GPUs: "auto", "on" or "off". Raises UserError for anything else."""
    mode = os.environ.get("LATENTBENCH_DETERMINISTIC", "auto")
    if mode not in ("auto", "on", "off"):
        raise UserError(f"LATENTBENCH_DETERMINISTIC={mode}: expected auto, on, or off")
    return mode


def capped(machine: Machine, jobs_per_device: int | None) -> str:
    """A line that says so where fewer jobs run at a time than were asked for; "" where as many do."""
    device = machine.devices[0]
    if jobs_per_device is None or device.units >= jobs_per_device:
        return ""
    return f"--jobs-per-device {jobs_per_device}: on the CPU a job takes at least one core, so that {device.units} run"


def _free_memory() -> int:
    """Bytes that can be had without swapping, here and by the limits of a container."""
    left = cgroup.memory_left()
    return _free_of_machine() if left is None else min(left, _free_of_machine())


def _free_of_machine() -> int:
    try:
        with open("/proc/meminfo") as file:
            facts = dict(line.split(":", 1) for line in file)
        return int(facts["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 0.8)


def oom_kills() -> int:
    """How many processes the kernel has ended for lack of memory, on this machine and in this container; 0 where
    it does not say."""
    return _counted("/proc/vmstat") + _counted("/sys/fs/cgroup/memory.events")


def _counted(path: str) -> int:
    try:
        with open(path) as file:
            return next((int(line.split()[1]) for line in file if line.split()[:1] == ["oom_kill"]), 0)
    except (OSError, ValueError, IndexError):
        return 0
