"""What a job costs besides its training: a grid of jobs of about a second each, by the local engine.

    python -P tests/perf/small_jobs.py [--jobs 64] [--seconds 1.0]

Trains small tokenizers, one core each, and compares the CPU of the whole run (engine, server, workers; without the
data) with that of the trainings alone, taken in this process once it is warm. CPU times say the same on a busy machine;
the share of the cores by the clock means something on an idle one alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from latentbench.bench import job_context, worker
from latentbench.bench.datasets import fingerprint
from latentbench.bench.engines.client import Server
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.engines.local import LocalEngine
from latentbench.bench.jobs import Job
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.bench.worker_protocol import WorkerRequest, start_attempt
from latentbench.results.store import Store


def planned(jobs: int, steps: int, cache: Path) -> tuple[Job, list[Job]]:
    """The data's job, and `jobs` trainings of so many steps."""
    suite = load_suite(
        {
            "name": "small",
            "seeds": list(range(jobs)),
            "data": {"name": "shapes", "size": 32, "samples": 512, "val": 32},
            "tokenizers": [{"recipe": "kl-vae", "width": 16, "downsample": 4, "channels": 4}],
            "training": {"steps": steps, "batch_size": 16},
            "tasks": ["reconstruction"],
        }
    )
    plan = make_plan(suite, {data.label: fingerprint(data, cache=cache) for data in suite.data})
    of = {kind: [job for job in plan.jobs.values() if job.kind == kind] for kind in ("data", "tokenizer")}
    return of["data"][0], of["tokenizer"]


def here(store: Store, cache: Path, job: Job) -> float:
    """Does the job in this process; seconds of CPU of the training alone."""
    spent: list[float] = []
    train = job_context.train

    def timed(*args: Any, **options: Any) -> Any:
        start = time.process_time()
        report = train(*args, **options)
        spent.append(time.process_time() - start)
        return report

    log = start_attempt(store.job_folder(job.kind, job.key))
    request = WorkerRequest(
        job=job,
        root=str(store.root),
        cache=str(cache),
        device="cpu",
        threads=1,
        attempt=1,
        log=str(log),
        checkpoint_seconds=1e9,
    )
    job_context.train = timed
    try:
        with log.open("w") as file, contextlib.redirect_stdout(file):
            worker.work(request.to_json(), listen=False)
    finally:
        job_context.train = train
    return sum(spent)


def cpu() -> tuple[float, float]:
    """Seconds of CPU of this process, and of all that it has started and that has ended."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, others.ru_utime + others.ru_stime


def start() -> float:
    """Seconds of CPU of a server without jobs."""
    before = cpu()[1]
    server = Server()
    while not server.ready:
        server.read(1.0)
    server.close()
    return cpu()[1] - before


def grid(root: Path, cache: Path, data: Job, jobs: list[Job]) -> tuple[float, float, float]:
    """Seconds of CPU of the engine, of the server with its workers, and by the clock, of all jobs."""
    store = Store(root)
    here(store, cache, data)
    engine = LocalEngine(EngineSettings(store=store, cache=cache, devices="cpu"))
    engine.finished = {data.id: data}
    wall, (own, others) = time.monotonic(), cpu()
    ended = [event.kind for event in engine.run({job.id: job for job in jobs}) if event.kind in ("finished", "failed")]
    assert ended == ["finished"] * len(jobs), "a job has failed"
    after = cpu()
    return after[0] - own, after[1] - others, time.monotonic() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="of CPU of a training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        root, cache = Path(place), Path(place) / "cache"
        cache.mkdir()
        steps = 20
        for turn in ("cold", "warm", "chosen"):  # so many steps that a training takes its seconds
            data, jobs = planned(3, steps, cache)
            store = Store(root / turn)
            here(store, cache, data)
            alone = statistics.median(here(store, cache, job) for job in jobs)
            if turn == "warm":
                steps = max(1, round(steps * options.seconds / alone))
        data, jobs = planned(options.jobs, steps, cache)
        print(f"{options.jobs} jobs of {steps} steps, {alone:.2f} s of CPU each; {cores} cores, load", end=" ")
        print(f"{os.getloadavg()[0]:.1f}", flush=True)
        starting = start()
        own, others, wall = grid(root / "grid", cache, data, jobs)
        spent, useful = own + others, alone * options.jobs
        extra = (spent - starting) / options.jobs - alone
        print(f"CPU: {spent:.1f} s, of which the server's start {starting:.1f}, the engine {own:.1f}")
        print(f"  {100 * useful / spent:.0f} % trained; without the start {100 * useful / (spent - starting):.0f} %")
        print(f"  {extra:.2f} s a job besides its training: {100 * extra / 60:.2f} % of one of 60 s")
        print(f"clock: {wall:.1f} s; {100 * useful / wall / cores:.0f} % of the cores trained")


if __name__ == "__main__":
    main()
