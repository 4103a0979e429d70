"""A run of some seconds that a bench can disturb, and whether what it leaves is what an undisturbed run leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SUITE = """
name = "small"
data = {name = "shapes", modality = "image", size = 16, samples = 64, val = 32}
tokenizers = [
    {recipe = "kl-vae", downsample = 4, tsr = 12, width = 8},
    {recipe = "vq-vae", downsample = 4, codebook_size = 64, width = 8},
]
training = {steps = 60, batch_size = 8}
encoder = {width = 8, training = {steps = 20, batch_size = 8}}
generation = {samples = 32}
[prior]
training = {steps = 20, batch_size = 8}
flow = {width = 16, layers = 1, attention_heads = 2, steps = 2}
ar = {width = 16, layers = 1, attention_heads = 2}
"""


class Place:
    """A folder with a run: the suite, the records under `out`, the decoded data under `cache`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.cache = folder, folder / "out", folder / "cache"
        self.suite = folder / "small.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.suite.write_text(SUITE)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Begin the run, or go on with it, in a process group of its own."""
        known = ("--out", str(self.out), "--checkpoint-seconds", "0.05", "--devices", "cpu")
        return self.command("run", str(self.suite), *known, *options)

    def command(self, *arguments: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start the command line in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "latentbench.bench.cli", *arguments],
            env={**os.environ, "LATENTBENCH_CACHE": str(self.cache), "COLUMNS": "200"},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def finish(self) -> str:
        """Run to the end; returns what was said. Raises RuntimeError for a run that does not end well."""
        process = self.start()
        _, said = process.communicate(timeout=1200)
        if process.returncode:
            raise RuntimeError(f"exit {process.returncode}: {said[-2000:]}")
        return said

    def stop_while_training(self, kind: str) -> bool:
        """Run until a job of that kind has left a checkpoint, then stop it as a cluster does; whether one is there."""
        process = self.start()
        while process.poll() is None and not self.checkpoints(kind):
            time.sleep(0.01)
        with_checkpoint = process.poll() is None
        if with_checkpoint:
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
        return with_checkpoint and bool(self.checkpoints(kind))

    def checkpoints(self, kind: str = "*") -> list[Path]:
        return list(self.out.glob(f"jobs/{kind}/*/checkpoint.safetensors"))

    def copy(self, folder: Path) -> Place:
        """The same in another folder, times of files included."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder, symlinks=True)
        return Place(folder)


def records(place: Place) -> dict[Path, bytes]:
    """The records' bytes by their place in the output folder."""
    return {path.relative_to(place.out): path.read_bytes() for path in place.out.glob("jobs/*/*/record.json")}


def content(record: bytes) -> str:
    """A record without what may differ between two runs of one job."""
    return json.dumps({name: value for name, value in json.loads(record).items() if name != "run"})


def differences(place: Place, undisturbed: Place) -> list[str]:
    """What is not as an undisturbed run left it: records (times aside), artifacts, decoded data, files that remain."""
    mine, theirs = records(place), records(undisturbed)
    differing = [f"{path}: there in one alone" for path in mine.keys() ^ theirs.keys()]
    for path in mine.keys() & theirs.keys():
        if content(mine[path]) != content(theirs[path]):
            error = json.loads(mine[path]).get("error")
            differing.append(f"{path}: another record ({error or 'no error'})")
        for artifact in json.loads(theirs[path])["artifacts"]:
            file = path.parent / artifact
            if not (place.out / file).is_file():
                differing.append(f"{file}: missing")
            elif (place.out / file).read_bytes() != (undisturbed.out / file).read_bytes():
                differing.append(f"{file}: other content")
    for path in undisturbed.cache.glob("datasets/*/*"):
        mine_of = place.cache / path.relative_to(undisturbed.cache)
        if not mine_of.is_file() or mine_of.read_bytes() != path.read_bytes():
            differing.append(f"{mine_of.relative_to(place.cache)}: other content")
    left = _files(place.out) - _files(undisturbed.out)
    return differing + [f"{name}: left behind" for name in left if not name.startswith("attempt-")]


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}
