"""Limits of containers, read from folders made like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.bench import cgroup, hardware


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_version_2_has_the_least_of_the_group_and_those_around_it(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/slurm/job_7"
    files = {
        "proc/self/cgroup": "0::/slurm/job_7\n",
        f"{group}/memory.max": "max\n",
        f"{group}/memory.current": "500\n",
        f"{group}/cpu.max": "350000 100000\n",
        "sys/fs/cgroup/slurm/memory.max": "8000\n",
        "sys/fs/cgroup/slurm/memory.current": "5000\n",
        "sys/fs/cgroup/slurm/memory.stat": "anon 3000\ninactive_file 1500\n",
        "sys/fs/cgroup/slurm/cpu.max": "max 100000\n",
    }
    put(tmp_path, files)
    assert cgroup.memory_left(tmp_path) == 8000 - 5000 + 1500
    assert cgroup.core_limit(tmp_path) == 3


def test_version_1_and_a_name_that_is_not_mounted(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "9:name=systemd:/x\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    put(tmp_path, files)
    assert cgroup.memory_left(tmp_path) == 3000
    assert cgroup.core_limit(tmp_path) == 1  # half a core is one


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "nonsense\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/cpu.max": "max 100000\n"},
        {
            "proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        },
    ],
)
def test_without_a_limit_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    put(tmp_path, files)
    assert cgroup.memory_left(tmp_path) is None
    assert cgroup.core_limit(tmp_path) is None


def test_a_run_keeps_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "core_limit", lambda: 1)
    monkeypatch.setattr(cgroup, "memory_left", lambda: 1_000_000)
    assert hardware.cores() == 1
    (device,) = hardware.machine("cpu").devices
    assert device.memory == 850_000
