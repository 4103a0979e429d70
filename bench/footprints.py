"""What steps of a run's jobs take of a device, measured once per configuration and remembered. Torch-free.

`footprint` does the measuring, in a process of its own: a plan never imports torch.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from ..results.canonical import compact, pretty
from ..results.errors import UserError
from ..results.halving import RUNG
from ..results.record import Record
from ..results.store import Store, atomic_write
from .imports import Import
from .job_files import placed
from .jobs import Job
from .kinds.rung import training_of

TRAINING = ("tokenizer", "prior", RUNG)
EVALUATION = ("latents", "reconstruction", "generation")

# What a process takes besides its tensors: torch itself on a CPU, the context with cuBLAS and cuDNN on a GPU.
CONTEXT = {"cpu": 400_000_000, "cuda": 600_000_000}
MARGIN = 1.2  # fragmentation and workspaces, which no shape tells

# A step whose FLOPs are fewer can't hold more than a gigabyte: no configuration that was looked at keeps more than
# 0.01 bytes per FLOP (5e-3 at 256 px and width 32, 2e-3 of preset-sized priors). Its guess is good enough.
SURELY_SMALL = 1e11

# A job's measured peak over the prediction: beyond these it says something else than how wrong predictions are.
_LEAST_RATIO, _MOST_RATIO = 0.5, 4.0

COMMAND = ["-m", f"{__package__}.footprint"]  # of the process that measures

_TABLE = "footprints.json"
_VERSION = 1  # of what is measured: rises when an older table would mislead


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes and work of one step: `states` is what stays between steps (parameters, optimiser, average), `step` the
    most that one step adds to it, of which `saved` is kept for the backward pass; `flops` those of the mean step. Of an
    evaluation, a step is a batch."""

    states: int
    step: int
    saved: int = 0
    flops: float = 0.0

    @property
    def peak(self) -> int:
        """The most bytes of tensors at a time."""
        return self.states + self.step

    def memory(self, device: str, *, parts: int = 1) -> int:
        """Bytes to set aside on a "cpu" or "cuda" device for a job whose batch is divided into `parts`."""
        return int(CONTEXT[device.partition(":")[0]] + MARGIN * (self.states + self.step / parts))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured of a job: the part of its configuration on which memory and FLOPs depend."""

    kind: str
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    versions: Mapping[str, int]
    device: str = "cpu"

    @property
    def key(self) -> str:
        """A hash of it: equal for the seeds of a cell."""
        return hashlib.sha256(compact(asdict(self) | {"version": _VERSION}).encode()).hexdigest()[:20]


def subject(job: Job, jobs: Mapping[str, Job], device: str = "cpu") -> Subject | None:
    """What is to be measured of `job`, one of `jobs`; None for kinds whose memory is not that of a step."""
    if job.kind not in (*TRAINING, *EVALUATION):
        return None
    if job.kind == RUNG:
        job = training_of(job)
    trained = job
    while trained.kind != "tokenizer":
        role = next((role for role in ("tokenizer", "scramble") if role in trained.depends), None)
        if role is None:
            return None
        trained = jobs[trained.depends[role]]
    tokenizer = placed(trained).config["tokenizer"]
    if tokenizer.get("adapter") is not None or tokenizer.get("codec") is not None:
        return None
    config = {name: value for name, value in placed(job).config.items() if name not in ("seed", "tokenizer")}
    if job.kind in EVALUATION:
        config = {"batch_size": int(config.get("batch_size") or job.runtime.get("batch_size") or 64)}
    kind = "evaluation" if job.kind in EVALUATION else job.kind
    versions = dict(trained.versions) | (dict(job.versions) if job.kind in TRAINING else {})
    return Subject(kind=kind, config=config, tokenizer=tokenizer, versions=versions, device=device)


class Footprints:
    """The footprints of a run's folder, by subject, and those in the `cache` folder, where those of a plan stay that
    has no folder yet; `measure` adds to both."""

    def __init__(self, root: Path | None, *, cache: Path | None = None) -> None:
        self.paths = [folder / _TABLE for folder in (cache, root) if folder is not None]
        self.known: dict[str, Footprint] = {}
        self.reasons: dict[str, str] = {}
        for path in self.paths:  # what the run's own says counts
            self.known |= _read(path)

    def get(self, item: Subject | None) -> Footprint | None:
        """The footprint of `item`, if it is known."""
        return None if item is None else self.known.get(item.key)

    def measure(self, subjects: Iterable[Subject], imports: Sequence[Import] = ()) -> Iterator[Subject]:
        """Measure those that are not known, one after the other; yields each when it is done.

        What can't be measured (a part that looks at its data) has its reason in `reasons`.
        """
        missing = {item.key: item for item in subjects if item.key not in self.known}
        if not missing:
            return
        request = {"imports": [asdict(item) for item in imports], "subjects": [asdict(s) for s in missing.values()]}
        with subprocess.Popen(
            [sys.executable, "-P", *COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request))
                process.stdin.close()
            for item, line in zip(missing.values(), process.stdout, strict=False):
                answer = json.loads(line)
                if "error" in answer:
                    self.reasons[item.key] = answer["error"]
                else:
                    self.known[item.key] = Footprint(**answer)
                yield item
        self._save()

    def _save(self) -> None:
        for path in self.paths:
            if path.parent.is_dir():
                table = _read(path) | self.known  # another may have added to it meanwhile
                with suppress(OSError, UserError):  # what is lost is measured again
                    atomic_write(path, pretty({key: asdict(value) for key, value in table.items()}))


def _read(path: Path) -> dict[str, Footprint]:
    try:
        return {key: Footprint(**item) for key, item in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none, or damaged: measured anew
        return {}


def sized(
    jobs: Mapping[str, Job],
    plan: Mapping[str, Job],
    table: Footprints,
    *,
    device: str = "cpu",
    ratios: Mapping[str, float] | None = None,
) -> dict[str, Job]:
    """`jobs` with the memory and FLOPs that `table` knows, times what finished jobs of their kind took (`ratios`).

    Keys and thread counts stay: they follow from the plan alone.
    """
    result = {}
    for name, job in jobs.items():
        ratio = (ratios or {}).get(job.kind, 1.0)
        footprint = table.get(subject(job, plan, device))
        if footprint is not None:
            flops = job.flops
            if job.kind in TRAINING and job.step_flops > 0 and footprint.flops > 0:
                flops *= footprint.flops / (job.step_flops * job.devices)
            memory = int(footprint.memory(device) * ratio)
            if job.kind in EVALUATION:  # beside the batch of the footprint: what the nets take that judge it
                memory = max(memory, job.memory)
            job = replace(job, memory=memory, flops=flops)
        result[name] = job
    return result


def worth_measuring(jobs: Mapping[str, Job]) -> dict[str, Job]:
    """The jobs whose step might be too large for a guess."""
    return {name: job for name, job in jobs.items() if job.step_flops > SURELY_SMALL}


def peak_bytes(record: Record) -> int | None:
    """What a finished job has taken of its device, its context included; None where nothing tells."""
    run = record.run
    on_gpu = str(run.get("device", "cpu")).startswith("cuda")
    peak = run.get("peak_device_memory_bytes" if on_gpu else "peak_memory_bytes")
    if not isinstance(peak, int | float):
        return None
    return int(peak) + (CONTEXT["cuda"] if on_gpu else 0)


def measured_ratios(
    store: Store, plan: Mapping[str, Job], finished: Iterable[Job], table: Footprints, *, device: str = "cpu"
) -> dict[str, float]:
    """By kind, the median of what finished jobs took over what was predicted for them; kinds without one are left out.

    Jobs that ran on another sort of device than `device` say nothing.
    """
    ratios: dict[str, list[float]] = {}
    for job in finished:
        footprint = table.get(subject(job, plan, device))
        record = None if footprint is None else store.load(job.kind, job.key)
        if footprint is None or record is None:
            continue
        if str(record.run.get("device", "cpu")).partition(":")[0] != device.partition(":")[0]:
            continue
        peak = peak_bytes(record)
        if peak is not None:
            ratios.setdefault(job.kind, []).append(peak / footprint.memory(device))
    return {kind: min(max(median(values), _LEAST_RATIO), _MOST_RATIO) for kind, values in ratios.items()}
