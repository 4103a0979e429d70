"""A store of many records: tables, a report, a status, the decision what is left to do, each in its own process.

    python -P tests/perf/large_store.py [RECORDS]

Six records a cell, of about 3 kB, as a run of one grid leaves them; their artifacts are small. "again" is with what the
first one remembered. Prints seconds, seconds of CPU and the process's peak memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.jobs import Job
from latentbench.bench.plan_file import write_plan
from latentbench.results.metric import Metric
from latentbench.results.record import Record
from latentbench.results.store import Store

KINDS = ("data", "tokenizer", "latents", "reconstruction", "prior", "generation")
METRICS = 12  # of reconstruction and of generation
RESUME = """
import sys
from pathlib import Path
from rich.console import Console
from latentbench.bench.plan_file import read_plans
from latentbench.bench.runner import _intact
from latentbench.results.index import outcomes
from latentbench.results.store import Store
store = Store(Path(sys.argv[0]))
(plan,) = read_plans(store)
done = _intact(store, plan.jobs, outcomes(store, plan.jobs, verify=True), Console(quiet=True))
print(len(plan.jobs) - len(done), "of", len(plan.jobs), "left to do")
"""


class _Plan:
    """As much of a plan as its file needs."""

    def __init__(self, jobs: dict[str, Job]) -> None:
        self.jobs = jobs
        self.suite = type("Suite", (), {"name": "large"})


def fill(out: Path, records: int) -> None:
    """Write a store of so many records: one grid point with three seeds per three cells."""
    store, jobs, cells = Store(out), dict[str, Job](), list[dict[str, Any]]()
    for cell in range(records // len(KINDS)):
        axes, seed = {"tsr": 8 + cell // 3}, cell % 3
        names: dict[str, str] = {}
        for place, kind in enumerate(KINDS):
            depends = {KINDS[place - 1]: names[KINDS[place - 1]]} if place else {}
            config = {"cell": cell, "options": {f"option_{i}": i / 7 for i in range(20)}}
            job = Job(kind=kind, config=config, versions={kind: 1}, depends=depends, title=f"{kind} {cell}", flops=1e12)
            jobs[job.id], names[kind] = job, job.id
            measured = METRICS if kind in ("reconstruction", "generation") else 0
            metrics = tuple(
                Metric(
                    name=f"{kind}_{i}",
                    value=cell % 97 + i / 3,
                    se=0.1,
                    n=256,
                    direction="higher",
                    unit="dB",
                    protocol="256 samples, seed 0",
                )
                for i in range(measured)
            )
            extra = {"flops": 1e12, "parameters": 1000 + cell}
            run = {"seconds": 3.5, "host": "bench", "peak_memory_bytes": 10**9, "versions": {"torch": "2"}}
            store.save(
                Record(
                    kind=kind,
                    key=job.key,
                    status="finished",
                    config=config,
                    depends=tuple(depends.values()),
                    metrics=metrics,
                    extra=extra,
                    run=run,
                )
            )
        facts = {"dataset": "d", "modality": "image", "recipe": "kl-vae", "label": "", "axes": axes, "seed": seed}
        cells.append({"cell": f"cell-{cell}", **facts, "jobs": names})
    store.write_suite("large", cells, kinds=list(KINDS))
    write_plan(_Plan(jobs), "local", EngineSettings(store=store, cache=out))  # type: ignore[arg-type]


def timed(*command: str) -> tuple[float, float, float]:
    """Seconds, seconds of CPU, and gigabytes of a process."""
    begun = time.perf_counter()
    script = "import resource, sys; sys.argv = sys.argv[1:]\n"
    script += "try:\n    exec(compile(sys.argv.pop(0), 'bench', 'exec'))\nfinally:\n"
    script += "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
    script += "    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)\n"
    done = subprocess.run([sys.executable, "-P", "-c", script, *command], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr[-2000:])
    cpu, kilobytes = done.stderr.split()[-2:]
    return seconds, float(cpu), int(kilobytes) / 1e6


CLI = "from latentbench.bench.cli import main\nraise SystemExit(main(sys.argv))"


def main(records: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        out = str(Path(home) / "out")
        begun = time.perf_counter()
        fill(Path(out), records)
        print(json.dumps({"records": records, "filled_in": round(time.perf_counter() - begun, 1)}), flush=True)
        for name, command in (
            ("status", (CLI, "status", out)),
            ("status again", (CLI, "status", out)),
            ("resume decision", (RESUME, out)),
            ("resume decision again", (RESUME, out)),
            ("leaderboard", (CLI, "leaderboard", out)),
            ("leaderboard again", (CLI, "leaderboard", out)),
            ("leaderboard csv", (CLI, "leaderboard", out, "--format", "csv")),
            ("report", (CLI, "report", out, "--out", str(Path(home) / "report"))),
        ):
            seconds, cpu, gigabytes = timed(*command)
            print(f"{name:24} {seconds:6.1f} s, {cpu:6.1f} s of CPU, {gigabytes:5.2f} GB", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
