"""MIG: slices of NVIDIA's GPUs. Torch-free.

CUDA shows a process one slice alone: the first that CUDA_VISIBLE_DEVICES names. So slices are not numbered by CUDA but
listed by `nvidia-smi -L`, and whoever works on one sees nothing else. Written from the MIG user guide
(https://docs.nvidia.com/datacenter/tesla/mig-user-guide/), and tested with listings as it prints them, never on a GPU.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

PREFIX = "MIG-"
_GPU = re.compile(r"GPU +\d+: (?P<title>.+?) \(UUID: (?P<uuid>GPU-[^)\s]+)\)")
_SLICE = re.compile(r" +MIG (?P<profile>\S+) +Device +\d+: \(UUID: (?P<uuid>MIG-[^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A slice of a GPU, or a GPU that is not sliced: how CUDA_VISIBLE_DEVICES names it, and its `sort`: slices of one
    sort have the same name and memory."""

    uuid: str
    sort: str


def listing() -> str:
    """What `nvidia-smi -L` prints; "" where there is no such program, or it can't say."""
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def devices(listed: str, visible: str | None) -> list[Listed]:
    """The slices in such a listing, and the GPUs that are not sliced; [] where none is, so that CUDA numbers them all.

    Of those that `visible` names, if it is CUDA_VISIBLE_DEVICES and set: a slice by its UUID, a GPU by its number in
    the listing or the beginning of its UUID, with all of its slices. As CUDA does, this ends at a name that means
    nothing; but a slice that no listing names is taken at its word.
    """
    gpus = _parse(listed)
    slices = {part.uuid: part for parts in gpus.values() for part in parts if part.uuid.startswith(PREFIX)}
    names = None if visible is None else [name.strip() for name in visible.split(",")]
    if not slices and not any(name.startswith(PREFIX) for name in names or ()):
        return []
    if names is None:
        return [part for parts in gpus.values() for part in parts]
    chosen: list[Listed] = []
    for name in names:
        if name.startswith(PREFIX):
            parts = [slices.get(name, Listed(uuid=name, sort=name))]
        else:
            parts = _of_gpu(gpus, name)
        if not parts:
            break
        chosen += [part for part in parts if part not in chosen]
    return chosen


def _of_gpu(gpus: dict[str, list[Listed]], name: str) -> list[Listed]:
    """What the GPU of that number, or beginning of a UUID, consists of; [] for a name that no one GPU has."""
    if name.isdecimal():
        return [*gpus.values()][int(name)] if int(name) < len(gpus) else []
    matches = [parts for uuid, parts in gpus.items() if name.startswith("GPU-") and uuid.startswith(name)]
    return matches[0] if len(matches) == 1 else []


def _parse(listed: str) -> dict[str, list[Listed]]:
    """Of each GPU by its UUID: its slices, or itself."""
    titles: dict[str, str] = {}
    slices: dict[str, list[Listed]] = {}
    for line in listed.splitlines():
        if gpu := _GPU.match(line):
            titles[gpu["uuid"]], slices[gpu["uuid"]] = gpu["title"], []
        elif (part := _SLICE.match(line)) and titles:
            uuid, title = [*titles.items()][-1]
            slices[uuid].append(Listed(uuid=part["uuid"], sort=f"{title} MIG {part['profile']}"))
    return {uuid: slices[uuid] or [Listed(uuid=uuid, sort=uuid)] for uuid in titles}
