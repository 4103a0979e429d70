"""A small sweep by latentbench and by a script per cell: the same grid; seconds, CPU seconds and memory of each way.

    python -P tests/perf/sweep_vs_scripts.py [--seeds 2] [--steps 100] [--samples 1024]
        [--only sweep scripts peers peers-at-once tasks] [--measure reconstruction generation] [--size flops]

Four tokenizers on procedural 32 px images, with priors and distances:

- sweep    `latentbench run`: what cells share is computed once, small jobs run side by side.
- scripts  a fresh process per cell, one after the other, that repeats all by latentbench's own functions: data set,
           reference features, tokenizer, latents, prior; with torch's default number of threads.
- peers    the same as a researcher writes it, `peer_cell.py`: diffusers' tokenizers and DiT, transformers' GPT-2,
           torchmetrics, torch-fidelity, by the same net; one process after the other. Images and net lie ready.
- peers-at-once  as many of these scripts at a time as there are cores, a thread each.
- tasks    a fresh process per cell and task (reconstruction, generation, modelability), which trains the tokenizer too;
           not among the default ways.

The own scripts call what the harness's workers call, so the numbers must agree; they differ by rounding where the
number of threads does, and the largest differences are printed. The peers' models are others: their parameters and
FLOPs stand beside ours, of like FLOPs or, with `--size parameters`, of like parameters. Where diffusers, transformers,
torchmetrics or torch-fidelity is not installed the peers are left out, with a line. Each way starts from empty caches.
Memory is the largest sum of proportional set sizes that a look each second has seen.
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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SUITE = """
name = "sweep"
seeds = {seeds}
tasks = {tasks}

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

[prior.training]
steps = {steps}
batch_size = 32

[prior.flow]
steps = 20

[generation]
samples = 128
"""
# The peers' cells, in the suite's order: the sort of tokenizer, and its channels.
PEERS = (("kl", 4), ("kl", 2), ("ae", 4), ("vq", 8))
TASKS = ("reconstruction", "generation", "modelability")
WAYS = ("sweep", "scripts", "peers", "peers-at-once", "tasks")
COMPARED = ("psnr", "rfd_scattering", "gfd_scattering")
_PEERS_NEED = ("diffusers", "transformers", "torchmetrics", "torch_fidelity")


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


def peers(options: argparse.Namespace, ready: Path, *, at_once: int) -> list[dict[str, Any]]:
    """A process of `peer_cell.py` per cell, so many at a time; a row of numbers per cell."""
    place = str(Path(__file__).with_name("peer_cell.py"))
    orders = []
    for kind, channels in PEERS:
        for seed in range(options.seeds):
            order = [
                place,
                "--tokenizer",
                kind,
                "--channels",
                str(channels),
                "--seed",
                str(seed),
                "--size",
                options.size,
            ]
            order += [
                "--steps",
                str(options.steps),
                "--images",
                str(ready / "images.npz"),
                "--net",
                str(ready / "net.pt"),
            ]
            orders.append(order)
    threads = {} if at_once == 1 else {"OMP_NUM_THREADS": "1"}
    with ThreadPoolExecutor(at_once) as pool:
        said = pool.map(lambda order: _python(order, ready / "cache", **threads), orders)
        return [json.loads(text.splitlines()[-1]) for text in said]


def prepare(suite: str, ready: Path) -> None:
    """Write what the peers' scripts find ready: the images, and the feature net."""
    import numpy as np
    import torch

    from latentbench.bench.datasets import open_dataset
    from latentbench.bench.suite import load_suite
    from latentbench.tasks.nets.config import ScatteringConfig
    from latentbench.tasks.nets.scattering import ScatteringNet

    data = open_dataset(load_suite(suite, []).data[0], cache=ready / "images")
    splits = {"train": data.train, "val": data.val}
    cpu = torch.device("cpu")
    images = {name: split.stored(np.arange(len(split)), cpu, None).numpy() for name, split in splits.items()}
    np.savez(ready / "images.npz", **images)
    torch.save(ScatteringNet(ScatteringConfig(), data.signal), ready / "net.pt")


def compare_sizes(suite: str, size: str) -> None:
    """Print parameters and FLOPs of a training step, ours and the peers'."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from latentbench.bench.plan import make_plan
    from latentbench.bench.suite import load_suite
    from latentbench.tasks.latents import LatentBatch
    from latentbench.tasks.priors.build import build_prior
    from latentbench.tasks.priors.config import resolve_prior
    from latentbench.tokenizers.build import build
    from latentbench.tokenizers.interface import Latents

    sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
    import peer_cell
    from timing import parameters

    loaded = load_suite(suite, ["seeds=[0]"])
    images = torch.rand(32, 3, 32, 32) * 2 - 1
    cells = make_plan(loaded, {data.label: "" for data in loaded.data}).cells

    def row(name: str, ours: Any, batch: Any, peer: Any, loss: Callable[[Any], Any], peer_batch: Any) -> None:
        sizes = []
        for model, of in ((ours, lambda: _own_loss(ours, batch)), (peer, lambda: loss(peer_batch))):
            with FlopCounterMode(display=False) as counter:
                of().backward()
            sizes.append(f"{parameters(model) / 1e6:5.2f} M, {counter.get_total_flops() / 1e9:5.1f} GFLOP a step")
        print(f"{name:8} {sizes[0]}; peer {sizes[1]}")

    for planned, (kind, channels) in zip(cells, PEERS, strict=True):
        ours, theirs = build(planned.cell.tokenizer), peer_cell.tokenizer_model(kind, channels, size)
        loss = peer_cell.tokenizer_loss(kind, theirs)
        row(planned.cell.tokenizer.recipe, ours, images, theirs, loss, images)
        name = "ar" if kind == "vq" else "flow"
        prior = build_prior(resolve_prior(name, {}, ours.spec, where="bench"), ours.spec)
        codes, values = torch.randint(0, 256, (32, 64)), torch.randn(32, channels, 8, 8)
        latents = Latents(codes=codes.view(32, 1, 8, 8)) if kind == "vq" else Latents(values=values)
        theirs = peer_cell.prior_model(kind, channels)
        loss = peer_cell.prior_loss(kind, theirs)
        row(f"  {name}", prior, LatentBatch(latents=latents), theirs, loss, codes if kind == "vq" else values)


def _own_loss(model: Any, batch: Any) -> Any:
    return model.losses(batch, group="model", step=0, steps=1)["loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100, help="of every training")
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=WAYS[:-1])
    parser.add_argument("--measure", nargs="+", choices=TASKS, default=TASKS[:2], help="peers have the first two")
    parser.add_argument("--size", choices=("flops", "parameters"), default="flops", help="what peers have in common")
    parser.add_argument("--cell", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tasks", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--suite", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ready", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ready is not None:
        prepare(options.suite, options.ready)
        compare_sizes(options.suite, options.size)
        return
    if options.cell is not None:
        print(json.dumps(script(options.suite, options.cell, options.tasks, options.out)))
        return
    cells, cores = len(PEERS) * options.seeds, len(os.sched_getaffinity(0))
    print(f"{cells} cells, {options.steps} steps, {cores} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    ways = list(options.only)
    missing = [name for name in _PEERS_NEED if find_spec(name) is None]
    if missing and any(way.startswith("peers") for way in ways):
        print(f"{', '.join(missing)} not installed: the peers are left out")
        ways = [way for way in ways if not way.startswith("peers")]
    with tempfile.TemporaryDirectory() as place:
        suite, ready = Path(place) / "sweep.toml", Path(place) / "ready"
        names = {"seeds": list(range(options.seeds)), "tasks": json.dumps(list(options.measure))}
        suite.write_text(SUITE.format(steps=options.steps, samples=options.samples, **names))
        if any(way.startswith("peers") for way in ways):
            ready.mkdir()
            order = [__file__, "--suite", str(suite), "--ready", str(ready), "--size", options.size]
            print(_python(order, Path(place) / "cache"), end="", flush=True)
        runners: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
            "sweep": lambda folder: sweep(suite, folder),
            "scripts": lambda folder: scripts(suite, folder, cells, [list(options.measure)]),
            "tasks": lambda folder: scripts(suite, folder, cells, [[task] for task in options.measure]),
            "peers": lambda _: peers(options, ready, at_once=1),
            "peers-at-once": lambda _: peers(options, ready, at_once=cores),
        }
        numbers: dict[str, list[dict[str, Any]]] = {}
        costs: dict[str, tuple[float, float]] = {}
        for name in ways:
            started, cpu = time.monotonic(), _children_seconds()
            with peak_memory() as peak:
                numbers[name] = runners[name](Path(place) / name)
            costs[name] = time.monotonic() - started, _children_seconds() - cpu
            _report(name, costs, peak[0], numbers)


def _report(
    name: str, costs: dict[str, tuple[float, float]], peak: int, numbers: dict[str, list[dict[str, Any]]]
) -> None:
    wall, cpu = costs[name]
    line = f"{name:14}{wall:8.1f} s {cpu:8.1f} s of CPU {peak / 1e9:6.2f} GB, load {os.getloadavg()[0]:4.1f}"
    if name != "sweep" and "sweep" in costs:
        line += f"; {wall / costs['sweep'][0]:.2f} x the sweep's time, {cpu / costs['sweep'][1]:.2f} x its CPU"
    print(line, flush=True)
    if name.startswith("peers"):
        phases = [row["cpu_seconds"] for row in numbers[name]]
        print(f"{'':14}CPU by phase: " + ", ".join(f"{p} {sum(row[p] for row in phases):.1f} s" for p in phases[0]))
        means = {key: sum(row[key] for row in numbers[name]) / len(phases) for key in ("psnr", "ssim", "rfid", "gfid")}
        print(f"{'':14}means: " + ", ".join(f"{key} {value:.4g}" for key, value in means.items()), flush=True)
    elif name != "sweep" and "sweep" in numbers:
        print(f"{'':14}{_differences(numbers, name)}", flush=True)
    elif name == "sweep":
        rows = numbers[name]
        print(f"{'':14}means: " + ", ".join(f"{key} {sum(r[key] for r in rows) / len(rows):.4g}" for key in COMPARED))


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Inside, a look each second at the memory of all processes below this one; the first entry is the most, in bytes,
    pages that several share counted once."""
    most, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            most[0] = max(most[0], sum(map(_proportional_size, _below(os.getpid()))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _below(pid: int) -> list[int]:
    """The processes below one."""
    members = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = [int(child) for child in (task / "children").read_text().split()]
            members += children + [member for child in children for member in _below(child)]
    return members


def _proportional_size(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _differences(numbers: dict[str, list[dict[str, Any]]], name: str) -> str:
    pairs = list(zip(numbers["sweep"], numbers[name], strict=True))
    psnr = max(abs(a["psnr"] - b["psnr"]) for a, b in pairs)
    distance = max(abs(a[key] / b[key] - 1) for a, b in pairs for key in COMPARED[1:])
    return f"largest differences: {psnr:.2g} dB of PSNR, {distance:.2%} of a distance"


def _children_seconds() -> float:
    """CPU seconds of all processes that have ended below this one: what a busy machine distorts least."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _python(arguments: Sequence[str], cache: Path, **variables: str) -> str:
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "LATENTBENCH_CACHE": str(cache), **variables}
    done = subprocess.run(
        [sys.executable, "-P", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stderr}\n{' '.join(arguments)} ended with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
