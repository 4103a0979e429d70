"""Large sets of files: time to the first batch, peak memory, going on after a kill, folder and archives compared.

Tiny PNGs are made in a temporary folder (`--place`), read as a folder and as tar archives with `data.stream`, and
removed. Memory must not grow with their number: a tenth of the files is read for comparison.

    python -P tests/perf/large_sets.py --files 200000 --shards 20
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_CHILD = """
import hashlib, json, os, resource, signal, sys, time
begin = time.perf_counter()
from pathlib import Path
import numpy as np
import torch
from latentbench.bench.datasets import DataConfig, fingerprint, open_dataset
torch.set_num_threads(1)
options, cache, kill = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
config = DataConfig(**options, size=16, val=50, stream=True, augment=("flip",))
imported = time.perf_counter()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def progress(done, total, message):
    if kill and done >= kill:
        print(json.dumps({"killed_at": done, "of": total, "seconds": time.perf_counter() - imported}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

name = fingerprint(config, cache=cache, progress=progress)
listed = time.perf_counter()
data = open_dataset(config, cache=cache, fingerprint=name)
order = np.resize(np.random.default_rng(0).permutation(len(data.train)), 64 * 60)
batch = data.train.batch(order[:64], torch.device("cpu"))
first = time.perf_counter()
steps = 50
for step in range(steps):
    for ahead in range(step, step + 4):
        data.train.expect(order[64 * ahead : 64 * ahead + 64])
    batch = data.train.batch(order[64 * step : 64 * step + 64], torch.device("cpu"))
last = time.perf_counter()
digest = hashlib.sha256(batch.numpy().tobytes() + str(data.counts).encode()).hexdigest()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "list and hash": listed - imported, "first batch": first - imported,
    "samples a second": 64 * steps / (last - first),
    "memory above imports, MB": (peak - memory) / 1024, "samples": digest[:12], "fingerprint": name[:12],
}))
"""


def make(folder: Path, tar_folder: Path, files: int, shards: int) -> None:
    """`files` different 24-pixel PNGs in 100 classes, and the same in `shards` tar archives."""
    random = np.random.default_rng(0)
    for c in range(100):
        (folder / f"class{c:03d}").mkdir(parents=True)
    tar_folder.mkdir()
    with ExitStack() as stack:
        names = [tar_folder / f"train-{shard:03d}.tar" for shard in range(shards)]
        archives = [stack.enter_context(tarfile.open(name, "w")) for name in names]
        for i in range(files):
            path = folder / f"class{i % 100:03d}" / f"{i:07d}.png"
            pixels = np.repeat(np.repeat(random.integers(0, 256, (3, 3, 3), np.uint8), 8, 0), 8, 1)
            Image.fromarray(pixels).save(path, compress_level=1)
            archives[i % shards].add(path, arcname=str(path.relative_to(folder)))


def measure(options: dict[str, Any], cache: Path, kill: int = 0) -> dict[str, Any]:
    """What a process of its own took."""
    command = [sys.executable, "-P", "-c", _CHILD, json.dumps(options), str(cache), str(kill)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def show(name: str, result: dict[str, Any]) -> None:
    """One line."""
    facts = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in result.items())
    print(f"{name:34}{', '.join(facts)}", flush=True)


def main() -> None:
    """Make the files, measure, remove them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--place", type=Path, default=None, help="where the files are made (the temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        root = Path(place)
        begin = time.perf_counter()
        make(root / "tenth", root / "tenth-tar", arguments.files // 10, 1)
        make(root / "files", root / "tar", arguments.files, arguments.shards)
        time.sleep(2.5)  # files count as settled after two seconds
        print(f"{arguments.files} files made in {time.perf_counter() - begin:.0f} s, {os.cpu_count()} cores")
        sets = {
            "a tenth, folder": {"source": "folder", "path": str(root / "tenth")},
            "folder": {"source": "folder", "path": str(root / "files")},
            f"{arguments.shards} tar archives": {"source": "webdataset", "path": str(root / "tar" / "*.tar")},
        }
        results = {}
        for name, options in sets.items():
            results[name] = measure(options, root / f"cache {name}")
            show(name, results[name])
            show(f"{name}, second start", measure(options, root / f"cache {name}"))
        options = sets["folder"]
        show("folder, killed", measure(options, root / "cache killed", arguments.files // 2))
        show("folder, after the kill", measure(options, root / "cache killed"))
        one, other = list(results.values())[1:]
        same = all(one[key] == other[key] for key in ("samples", "fingerprint"))
        print(f"samples and fingerprint of folder and archives are {'equal' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
