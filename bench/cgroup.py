"""What a container may use: the memory and the cores that its control groups leave it, versions 1 and 2. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Beyond it a limit is none: version 1 says "unlimited" by a number near 2^63.
_UNLIMITED = 1 << 60


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes that this process's groups, and those around them, still allow; None without a limit.

    What the kernel holds of files and can drop at any time counts as free.
    """
    left = []
    for folder in _folders(root, "memory"):
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and limit < _UNLIMITED and used is not None:
            left.append(max(0, limit - used + _droppable(folder / "memory.stat")))
    return min(left, default=None)


def core_limit(root: Path = Path("/")) -> int | None:
    """Whole cores' time that this process's groups, and those around them, allow (at least 1); None without a limit."""
    limits = []
    for folder in _folders(root, "cpu"):
        with suppress(OSError, ValueError, IndexError):
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()[:2]
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if quota.strip() != "max" and int(quota) > 0:
                limits.append(max(1, int(quota) // int(period)))
    return min(limits, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's group, and of those around it, for a controller.

    Inside a container the group's own name may not be mounted: what is there is read.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controllers and controller)
        folder = mount / name.strip("/")
        for place in (folder, *folder.parents):
            if place.is_dir():
                yield place
            if place == mount:
                break


def _number(*paths: Path) -> int | None:
    """The number in the first of the files that has one."""
    for path in paths:
        with suppress(OSError, ValueError):
            return int(path.read_text())
    return None


def _droppable(path: Path) -> int:
    with suppress(OSError, ValueError):
        facts = dict(line.split(None, 1) for line in path.read_text().splitlines())
        return int(facts.get("total_inactive_file", facts.get("inactive_file", "0")))
    return 0
