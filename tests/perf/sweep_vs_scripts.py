"""A small sweep by latentbench and by a script per cell: the same cells, the same functions, seconds of each.

    python -P tests/perf/sweep_vs_scripts.py [--seeds 2] [--steps 100] [--samples 1024] [--only sweep scripts tasks]

Four tokenizers on procedural 32 px images, with priors, distances and proxies:

- sweep    `latentbench run`: what cells share is computed once, small jobs run side by side.
- scripts  a fresh process per cell, one after the other, that repeats all: data set, encoder, reference features,
           tokenizer, latents, prior; with torch's default number of threads.
- tasks    a fresh process per cell and task (reconstruction, generation, modelability), which trains the tokenizer too.

The scripts call what the harness's workers call, so the numbers must agree; they differ by rounding where the number
of threads does, and the largest differences are printed. Each way starts from empty caches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SUITE = """
name = "sweep"
seeds = {seeds}

[data]
name = "shapes"
size = 32
samples = {samples}
val = 128

[[tokenizers]]
recipe = "kl-vae"
grid.tsr = [12, 24]

[[tokenizers]]
recipe = "ae"
channels = 4

[[tokenizers]]
recipe = "vq-vae"
codebook_size = 256

[training]
steps = {steps}
batch_size = 32

[encoder.training]
steps = {steps}

[prior.training]
steps = {steps}
batch_size = 32

[prior.flow]
steps = 20

[generation]
samples = 128
"""
TASKS = ("reconstruction", "generation", "modelability")
WAYS = ("sweep", "scripts", "tasks")
COMPARED = ("psnr", "rfd_encoder_supervised", "gfd_encoder_supervised")


def sweep(suite: Path, folder: Path) -> list[dict[str, Any]]:
    """The whole suite by latentbench; a row of numbers per cell."""
    _python(["-m", "latentbench.bench.cli", "run", str(suite), "--out", str(folder / "out")], folder / "cache")
    from latentbench.results.rows import rows

    return [{name: row[name] for name in COMPARED} for row in rows([folder / "out"])]


def scripts(suite: Path, folder: Path, cells: int, tasks: list[list[str]]) -> list[dict[str, Any]]:
    """A process per cell and entry of `tasks`, each with a cache of its own; a row of numbers per cell."""
    rows: list[dict[str, Any]] = []
    for cell in range(cells):
        row: dict[str, Any] = {}
        for number, group in enumerate(tasks):
            own = folder / f"{cell}-{number}"
            order = [__file__, "--cell", str(cell), "--tasks", *group]
            order += ["--suite", str(suite), "--out", str(own / "out")]
            row |= json.loads(_python(order, own / "cache").splitlines()[-1])
        rows.append(row)
    return rows


def script(suite: str, cell: int, tasks: list[str], out: Path) -> dict[str, float | None]:
    """What a script per cell does: everything that the cell needs, in this process, from the data on."""
    import torch

    from latentbench.bench.datasets import default_cache, fingerprint
    from latentbench.bench.plan import make_plan
    from latentbench.bench.suite import load_suite
    from latentbench.bench.worker import work
    from latentbench.bench.worker_protocol import WorkerRequest
    from latentbench.results.store import Store

    loaded = load_suite(suite, [f"tasks={json.dumps(tasks)}"])
    cache = default_cache()
    plan = make_plan(loaded, {data.label: fingerprint(data, cache=cache) for data in loaded.data})
    needed, queue = set(), list(plan.cells[cell].jobs.values())
    while queue:
        name = queue.pop()
        needed.add(name)
        queue += plan.jobs[name].depends.values()
    store = Store(out)
    numbers: dict[str, float | None] = {}
    for name, job in plan.jobs.items():
        if name not in needed:
            continue
        log = store.job_folder(job.kind, job.key) / "log" / "attempt-1.log"
        log.parent.mkdir(parents=True)
        order = WorkerRequest(
            job=job,
            root=str(out),
            cache=str(cache),
            device="cpu",
            threads=torch.get_num_threads(),
            attempt=1,
            log=str(log),
            checkpoint_seconds=float("inf"),
        )
        with contextlib.redirect_stdout(sys.stderr):
            work(order.to_json())
        record = store.load(job.kind, job.key)
        if record is None:
            sys.exit(f"{job.title} failed")
        numbers |= {metric.name: metric.value for metric in record.metrics if metric.name in COMPARED}
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="of every training")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--cell", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tasks", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--suite", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell is not None:
        print(json.dumps(script(options.suite, options.cell, options.tasks, options.out)))
        return
    cells = 4 * options.seeds
    print(f"{cells} cells, {options.steps} steps, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    seconds: dict[str, float] = {}
    numbers: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        suite = Path(place) / "sweep.toml"
        seeds = list(range(options.seeds))
        suite.write_text(SUITE.format(seeds=seeds, steps=options.steps, samples=options.samples))
        ways = {
            "sweep": lambda folder: sweep(suite, folder),
            "scripts": lambda folder: scripts(suite, folder, cells, [list(TASKS)]),
            "tasks": lambda folder: scripts(suite, folder, cells, [[task] for task in TASKS]),
        }
        for name in options.only:
            started, cpu = time.monotonic(), _children_seconds()
            numbers[name] = ways[name](Path(place) / name)
            seconds[name] = time.monotonic() - started
            cpu = _children_seconds() - cpu
            print(f"{name:8} {seconds[name]:7.1f} s, {cpu:7.1f} s of CPU, load {os.getloadavg()[0]:.1f}", flush=True)
            if name != "sweep" and "sweep" in numbers:
                ratio = seconds[name] / seconds["sweep"]
                print(f"{'':8} {ratio:7.2f} x the sweep; {_differences(numbers, name)}", flush=True)


def _differences(numbers: dict[str, list[dict[str, Any]]], name: str) -> str:
    pairs = list(zip(numbers["sweep"], numbers[name], strict=True))
    psnr = max(abs(a["psnr"] - b["psnr"]) for a, b in pairs)
    distance = max(abs(a[key] / b[key] - 1) for a, b in pairs for key in COMPARED[1:])
    return f"largest differences: {psnr:.2g} dB of PSNR, {distance:.2%} of a distance"


def _children_seconds() -> float:
    """CPU seconds of all processes that have ended below this one: what a busy machine distorts least."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _python(arguments: list[str], cache: Path) -> str:
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "LATENTBENCH_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-P", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stderr}\n{' '.join(arguments)} ended with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
