"""Faults, brought about one after the other: what the user sees of each, and what is kept.

Run by hand: `python -P tests/coverage/faults.py [NAME ...]` does so for all of them (or those) and writes what came out
to `docs/faults.json`, from which `python docs/update_reliability.py` makes the table of docs/reliability.md. The tests
(tests/bench/test_faults.py) bring each about again and compare.

The run is small: five jobs, of which one trains. A fault meets it in that training, or between two runs; then the same
command is given again, undisturbed, until it is done.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

SUITE = """
name = "small"
tasks = ["reconstruction", "modelability"]
features = []
data = {name = "texture", size = 16, samples = 64, val = 64}
tokenizers = [{recipe = "linear-ae", downsample = 4, channels = 2}]
training = {steps = 1200, batch_size = 8}
"""
FILE = Path(__file__).parents[2] / "docs" / "faults.json"
PATIENCE = 400.0  # seconds for a run to come to its training, or to its end, on a machine that others use
_MAIN = "import sys; from latentbench.bench.cli import main; sys.exit(main(sys.argv[1:]))"
# What two occurrences of a fault may differ in: paths, names of files by digest, numbers.
_VOLATILE = (r"(?<![\w.])/[\w./-]+", r"\b[0-9a-f]{12,}\b", r"\d+(\.\d+)?(e[+-]?\d+)?")

Files = dict[str, bytes]


class Scene:
    """A run in a folder of its own, beside an `undisturbed` one, both made of what `folder` has."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.cache = folder, folder / "out", folder / "cache"
        self.suite = folder / "small.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.suite.write_text(SUITE)
        self.seen: list[str] = []
        self.before: Files = {}
        self.had_checkpoint = False
        self.code: int | None = None

    def command(self, *options: str, engine: str = "inline") -> list[str]:
        known = ["run", str(self.suite), "--out", str(self.out), "--devices", "cpu", "--checkpoint-seconds", "0.05"]
        return [*known, "--engine", engine, *options]

    def here(self, *options: str, meanwhile: Callable[[int], None] | None = None, prepare: Callable[[], None] = int) -> None:
        """The command in a fork of this process, after `prepare` there; `meanwhile` is told the fork's number."""
        said = self.folder / "said"
        pid = os.fork()
        if pid == 0:
            self._fork(said, options, prepare)
        if meanwhile is not None:
            meanwhile(pid)
        deadline = time.monotonic() + PATIENCE
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._saw(os.waitstatus_to_exitcode(status), said.read_text())

    def _fork(self, said: Path, options: tuple[str, ...], prepare: Callable[[], None]) -> None:
        code = 99
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with said.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))
            os.environ.update({"LATENTBENCH_CACHE": str(self.cache), "COLUMNS": "200"})
            from latentbench.bench import cli

            prepare()
            code = cli.main(self.command(*options))
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    @contextlib.contextmanager
    def process(self, *options: str, engine: str = "local", first: str = "") -> Iterator[subprocess.Popen[str]]:
        """The command as a user gives it, in a process group of its own, after the statement `first`."""
        with subprocess.Popen(
            [sys.executable, "-P", "-c", f"{first}\n{_MAIN}", *self.command(*options, engine=engine)],
            env={**os.environ, "LATENTBENCH_CACHE": str(self.cache), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as process:
            yield process
            try:
                _, said = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        self._saw(process.returncode, said)

    def _saw(self, code: int, said: str) -> None:
        self.code = code
        self.seen += [line for line in said.replace(str(self.folder), "DIR").splitlines() if line.strip()]

    def trains(self, _: object = None) -> None:
        """Wait until the training has left a checkpoint; then note what there is."""
        deadline = time.monotonic() + PATIENCE
        while not list(self.out.glob("jobs/tokenizer/*/checkpoint.safetensors")):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no training begins: {self.seen}")
            time.sleep(0.01)
        self.note()

    def note(self) -> None:
        """What there is when the fault comes."""
        self.before = records(self.out)
        self.had_checkpoint = bool(list(self.out.glob("jobs/tokenizer/*/checkpoint.safetensors")))

    def artifact(self, name: str) -> Path:
        [path] = self.out.glob(f"jobs/*/*/{name}")
        return path

    def log(self) -> str:
        """All that the training's attempts wrote."""
        paths = sorted(self.out.glob("jobs/tokenizer/*/log/*.log"), key=lambda path: path.stat().st_mtime_ns)
        return "\n".join(path.read_text() for path in paths)


def records(out: Path) -> Files:
    """The records that there are, by kind."""
    return {path.parent.parent.name: path.read_bytes() for path in out.glob("jobs/*/*/record.json")}


def content(record: bytes) -> dict[str, Any]:
    """Without what two runs of a job may differ in."""
    return {name: value for name, value in json.loads(record).items() if name != "run"}


def worker_of(run: int) -> int:
    """The process that trains, below the run and its server."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(IndexError, OSError):
            return _children(_children(run)[-1])[-1]
        time.sleep(0.02)
    raise TimeoutError("no worker")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def interrupted(*signals: int, group: bool = True) -> Callable[[Scene], None]:
    """The run gets these signals in its training, half a second apart."""

    def fault(scene: Scene) -> None:
        with scene.process() as process:
            scene.trains()
            for number in signals:
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if group else os.kill)(process.pid, number)
                time.sleep(0.5)

    return fault


def worker_dies(scene: Scene) -> None:
    with scene.process() as process:
        scene.trains()
        os.kill(worker_of(process.pid), signal.SIGKILL)


def worker_hangs(scene: Scene) -> None:
    with scene.process("--stall", "0.1") as process:
        scene.trains()
        os.kill(worker_of(process.pid), signal.SIGSTOP)


def server_hangs(scene: Scene) -> None:
    quick = "from latentbench.bench.engines import client; client.PING_SECONDS, client.SILENT_SECONDS = 0.5, 10.0"
    with scene.process(first=quick) as process:
        scene.trains()
        os.kill(_children(process.pid)[-1], signal.SIGSTOP)


def node_is_lost(scene: Scene) -> None:
    """Another machine, of which there is the folder alone, dies in the training: no process of it is left."""
    with scene.process("--lease", "5", engine="leases") as lost:
        scene.trains()
        os.killpg(lost.pid, signal.SIGKILL)
    with scene.process("--lease", "5", engine="leases"):
        pass


def unwritable(number: int) -> Callable[[Scene], None]:
    """From the training's first checkpoint on no file can be written: the system's error is `number`."""

    def prepare() -> None:
        replace = os.replace

        def refused(source: Any, target: Any, **options: Any) -> None:
            if "checkpoint" in str(target):
                raise OSError(number, os.strerror(number), str(target))
            replace(source, target, **options)

        os.replace = refused

    def fault(scene: Scene) -> None:
        scene.here(prepare=prepare)
        scene.note()

    return fault


def clock_jumps(scene: Scene) -> None:
    """Each look at the clock is a day before the last one."""

    def prepare() -> None:
        now, looks = time.time, iter(range(10**9))
        time.time = lambda: now() - 86_400.0 * next(looks)

    scene.here(prepare=prepare, meanwhile=scene.trains)


def flipped(name: str) -> Callable[[Scene], None]:
    """A bit of that file of the finished run is another; something that reads it is left to be done."""

    def fault(scene: Scene) -> None:
        scene.here()
        scene.seen.clear()
        shutil.rmtree(scene.artifact("record.json" if name == "" else name).parents[1].parent / "modelability")
        scene.note()
        _flip(scene.artifact(name))
        scene.here()

    return fault


def flipped_record(scene: Scene) -> None:
    scene.here()
    scene.seen.clear()
    scene.note()
    [path] = scene.out.glob("jobs/reconstruction/*/record.json")
    _flip(path)
    scene.here()


def flipped_checkpoint(scene: Scene) -> None:
    scene.here(meanwhile=lambda pid: (scene.trains(), os.kill(pid, signal.SIGKILL)))
    scene.seen.clear()
    _flip(scene.artifact("checkpoint.safetensors"))
    scene.here()
    scene.seen += [f"(log) {line}" for line in scene.log().splitlines() if "checkpoint" in line]


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def cache_is_evicted(scene: Scene) -> None:
    def evict(pid: int) -> None:
        scene.trains()
        shutil.rmtree(scene.cache)

    scene.here(meanwhile=evict)


def loss_is_nan(scene: Scene) -> None:
    scene.here("--set", "training.lr=1e30", "--set", "training.clip=0")
    scene.note()


# What it is called, how it is brought about, and by what.
FAULTS: Mapping[str, tuple[str, Callable[[Scene], None]]] = {
    "a worker dies": ("SIGKILL to the process that trains", worker_dies),
    "the run and all of its processes die": ("SIGKILL to the group", interrupted(signal.SIGKILL)),
    "a node is lost": ("SIGKILL to all of one of two machines that share a folder", node_is_lost),
    "the disk is full": ("ENOSPC where a checkpoint is written", unwritable(errno.ENOSPC)),
    "the quota is used up": ("EDQUOT there", unwritable(errno.EDQUOT)),
    "the folder becomes read-only": ("EROFS there", unwritable(errno.EROFS)),
    "the clock jumps": ("each look at it is a day earlier", clock_jumps),
    "a checkpoint rots": ("a flipped bit after a kill", flipped_checkpoint),
    "latents rot": ("a flipped bit in a finished job's file", flipped("train.values.npy")),
    "a model rots": ("the same in weights", flipped("model.safetensors")),
    "a record rots": ("the same in a record", flipped_record),
    "the cache is evicted under a reader": ("its folder is removed in training", cache_is_evicted),
    "the loss is NaN": ("a learning rate of 1e30", loss_is_nan),
    "a worker hangs": ("SIGSTOP to the process that trains, `--stall 0.1`", worker_hangs),
    "the server hangs": ("SIGSTOP to it; its patience set to ten seconds", server_hangs),
    "Ctrl-C, once": ("SIGINT to the group", interrupted(signal.SIGINT)),
    "Ctrl-C, twice": ("SIGINT to the group, again after half a second", interrupted(signal.SIGINT, signal.SIGINT)),
    "a cluster ends the job": ("SIGTERM to the group", interrupted(signal.SIGTERM)),
    "the terminal is closed": ("SIGHUP to the group", interrupted(signal.SIGHUP)),
}


def undisturbed(folder: Path) -> Path:
    """The output of a run that nothing disturbs."""
    scene = Scene(folder)
    if not scene.out.exists():
        scene.here()
        if scene.code:
            raise RuntimeError("\n".join(scene.seen))
    return scene.out


def brought_about(name: str, folder: Path, whole: Path) -> dict[str, Any]:
    """The fault in `folder`: what came out, as docs/faults.json has it. `whole` is what an undisturbed run leaves."""
    how, fault = FAULTS[name]
    scene = Scene(folder)
    fault(scene)
    seen, code = list(scene.seen), scene.code
    scene.here()  # the same command again
    if scene.code:
        raise RuntimeError(f"{name}: it does not go on: {scene.seen}")
    after, expected = records(scene.out), records(whole)
    kept = sorted(kind for kind, record in scene.before.items() if after.get(kind) == record)
    again = sorted(kind for kind in scene.before if kind not in kept)
    begun = [line for line in scene.log().splitlines() if line.startswith("continues ")]
    same = {kind: content(record) for kind, record in after.items()} == {k: content(r) for k, r in expected.items()}
    for path in whole.glob("jobs/*/*/*"):
        if path.suffix in (".npy", ".safetensors"):
            same &= (scene.out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    return {
        "how": how,
        "exit": code,
        "seen": [line for line in map(plain, seen) if not _usual(line)],
        "records": len(scene.before),
        "kept": kept,
        "again": again,
        "checkpoint": scene.had_checkpoint,
        "continued": bool(begun),
        "same": same,
    }


def plain(line: str) -> str:
    """A line of a run without what is the run's alone: times, and the digits of keys."""
    line = re.sub(r"^\[[^\]]*\] ", "", line)
    return re.sub(r"\b[0-9a-f]{12,}\b", "KEY", line)


def _usual(line: str) -> bool:
    """Whether a run that nothing disturbs says so too."""
    return bool(re.match(r"(started|finished|progress|skipped 0)\b|\d+ jobs? (are|is) finished already", line))


def alike(result: Mapping[str, Any]) -> dict[str, Any]:
    """What of a result is the same whenever the fault is brought about: all but times, paths and numbers."""

    def bare(line: str) -> str:
        for pattern in _VOLATILE:
            line = re.sub(pattern, "#", line)
        return line

    return {**result, "seen": [bare(line) for line in result["seen"]]}


def main() -> None:
    names = sys.argv[1:] or list(FAULTS)
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    from latentbench.bench.worker import preload

    preload()
    with tempfile.TemporaryDirectory() as place:
        whole = undisturbed(Path(place) / "undisturbed")
        for number, name in enumerate(names):
            results[name] = brought_about(name, Path(place) / str(number), whole)
            print(name, json.dumps(results[name], indent=1), flush=True)
            ordered = {known: results[known] for known in FAULTS if known in results}
            FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
