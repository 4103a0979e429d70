"""What threads that wait cost: a training step on two threads while others use the CPU, by OpenMP's wait policy.

    python -P tests/perf/openmp.py [--busy 0 2 4] [--steps 20] [--rounds 3] [--threads 2]

Starts `--busy` processes of its own that only compute, and prints milliseconds of a step by the clock and of CPU, the
median of the rounds, for the worker's environment, for what OpenMP does by itself, and for one thread. With N busy
processes on C cores, a job of T threads is due a share of min(1, C / (N + T)) of its cores: `due` is the idle machine's
time divided by that. On a machine that is not idle read the CPU's milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from latentbench.bench.engines.client import OPENMP, openmp

STEP = """
import json, sys, time
import torch
from torch import nn

threads, steps = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(0)
model = nn.Sequential(*(nn.Conv2d(32, 32, 3, padding=1) if i % 2 == 0 else nn.SiLU() for i in range(8)))
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
x = torch.randn(32, 32, 32, 32)

def step():
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()

for _ in range(3):
    step()
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(steps):
    step()
print(json.dumps([1e3 * (time.perf_counter() - wall) / steps, 1e3 * (time.process_time() - cpu) / steps]))
"""
POLICIES = ("ours", "default", "one thread")


def measured(policy: str, threads: int, steps: int) -> list[float]:
    """Milliseconds of a step: by the clock, and of CPU."""
    environment = {name: value for name, value in os.environ.items() if name not in OPENMP}
    if policy != "default":
        environment |= openmp(environment)
    command = [sys.executable, "-P", "-c", STEP, str(1 if policy == "one thread" else threads), str(steps)]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    idle = 0.0
    for count in options.busy:
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            time.sleep(0.5)
            print(f"{count} busy processes, {cores} cores, load {os.getloadavg()[0]:.1f}", flush=True)
            rounds = [
                {policy: measured(policy, options.threads, options.steps) for policy in POLICIES}
                for _ in range(options.rounds)
            ]
        finally:
            for process in busy:
                process.kill()
                process.wait()
        for policy in POLICIES:
            wall, cpu = (statistics.median(turn[policy][i] for turn in rounds) for i in (0, 1))
            due = ""
            if policy == "ours":
                idle = idle or wall
                due = f"  due {idle * max(1.0, (count + options.threads) / cores):.0f}"
            print(f"  {policy:12} {wall:7.1f} ms  CPU {cpu:7.1f} ms{due}", flush=True)


if __name__ == "__main__":
    main()
