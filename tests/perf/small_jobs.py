"""What a job costs besides its training: `latentbench run` of a grid of trainings of about a second each.

    python -P tests/perf/small_jobs.py [--jobs 64] [--seconds 1.0]

Small tokenizers, one core each, and their data. Every worker says what CPU its training took, and all of it; the server
what it took to start; the system what the whole command took (the command, its server, all workers). Seconds of CPU say
nearly the same on a busy machine. The share of the cores by the clock means something on an idle one alone, and there
only with more jobs than cores: at the end some wait for the last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUITE = """
name = "small"
seeds = {seeds}
data = {{name = "shapes", size = 32, samples = 512, val = 32}}
tokenizers = [{{recipe = "kl-vae", width = 16, downsample = 4, channels = 4}}]
training = {{steps = {steps}, batch_size = 16}}
tasks = []
"""
# Imported by the command and by its server, in which torch is there already.
METER = """
import json, os, sys, time
from pathlib import Path

def note(what, seconds):
    with (Path(__file__).parent / "notes.jsonl").open("a") as file:
        file.write(json.dumps({"what": what, "seconds": seconds}) + "\\n")

def timed(what, call):
    def inner(*arguments, **options):
        start = time.process_time()
        try:
            return call(*arguments, **options)
        finally:
            note(what, time.process_time() - start)
    return inner

if "torch" in sys.modules:
    from latentbench.bench import job_context, worker
    note("server", time.process_time())
    job_context.train = timed("training", job_context.train)
    worker.work = timed("worker", worker.work)
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Seconds of CPU of a run, all of it and by part, and seconds by the clock."""

    cpu: float
    clock: float
    server: float
    trainings: list[float]
    workers: float

    @property
    def training(self) -> float:
        return sum(self.trainings)


def run(folder: Path, *, jobs: int, steps: int) -> Run:
    """`latentbench run` of so many trainings, from an empty folder."""
    folder.mkdir()
    suite, meter = folder / "small.toml", folder / "meter.py"
    suite.write_text(SUITE.format(seeds=list(range(jobs)), steps=steps))
    meter.write_text(METER)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [
            *(sys.executable, "-P", "-m", "latentbench.bench.cli", "run", str(suite), "--import", str(meter)),
            *("--devices", "cpu", "--out", str(folder / "out")),
        ],
        env=os.environ | {"LATENTBENCH_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    clock, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    notes: list[dict[str, Any]] = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    of = {
        what: [note["seconds"] for note in notes if note["what"] == what] for what in ("server", "training", "worker")
    }
    assert (len(of["server"]), len(of["training"])) == (1, jobs), "a job was done again, or has failed"
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(cpu=cpu, clock=clock, server=of["server"][0], trainings=of["training"], workers=sum(of["worker"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="of CPU of a training")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        few, more = (run(Path(place) / str(steps), jobs=2, steps=steps) for steps in (10, 50))
        a_step = (statistics.median(more.trainings) - statistics.median(few.trainings)) / 40
        steps = max(1, round(50 + (options.seconds - statistics.median(more.trainings)) / a_step))
        print(f"{options.jobs} jobs of {steps} steps; {cores} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        all_of = run(Path(place) / "grid", jobs=options.jobs, steps=steps)
    own = (all_of.workers - all_of.training) / options.jobs
    rest = all_of.cpu - all_of.workers - all_of.server
    extra = (all_of.cpu - all_of.training - all_of.server) / options.jobs
    print(f"CPU: {all_of.cpu:.1f} s, {100 * all_of.training / all_of.cpu:.0f} % of it trained")
    print(f"  a training {statistics.median(all_of.trainings):.2f} s; besides, in its worker {own:.3f} s")
    print(f"  the server's start {all_of.server:.1f} s; the command and its server while they run {rest:.1f} s")
    print(f"  {extra:.3f} s a job besides its training, without the start: {100 * extra / 60:.2f} % of one of 60 s")
    share = 100 * all_of.training / all_of.clock / cores
    print(f"clock: {all_of.clock:.1f} s; {share:.0f} % of the cores trained")


if __name__ == "__main__":
    main()
