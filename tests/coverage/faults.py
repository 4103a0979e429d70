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
import itertools
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from latentbench.bench import cli, worker
from latentbench.bench.engines import client, server
from latentbench.bench.signals import die_with_parent
from latentbench.bench.training_state import TrainingState
from latentbench.results.store import RECORD

SUITE = """
name = "small"
tasks = ["reconstruction", "modelability"]
features = []
data = {name = "texture", size = 16, samples = 64, val = 64}
tokenizers = [{recipe = "linear-ae", downsample = 4, channels = 2}]
training = {steps = 800, batch_size = 8}
"""
FILE = Path(__file__).parents[2] / "docs" / "faults.json"
PATIENCE = 1500.0  # seconds for a run to come to its training, or to its end, on a machine that others use
# What two occurrences of a fault may differ in: paths, and numbers.
_VOLATILE = (r"(?<![\w.])(DIR)?/[\w./-]+", r"\d+(\.\d+)?(e[+-]?\d+)?")


class ForkedServers:
    """What stands for the module `subprocess` where an engine starts its server: a fork of this process, which has
    torch already, becomes it."""

    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

    class Popen:
        """What the engine needs of subprocess.Popen."""

        def __init__(self, command: Sequence[str], *, env: Mapping[str, str], **_: object) -> None:
            self.returncode: int | None = None
            theirs, mine = os.pipe()
            answers, speaks = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                try:
                    os.close(mine)
                    os.close(answers)
                    os.dup2(theirs, 0)
                    os.dup2(speaks, 1)
                    sys.argv = ["server.py", *command[-3:]]
                    os.environ.update(env)
                    sys.stdout = os.fdopen(1, "w", closefd=False)
                    worker.preload = lambda: None  # which a process can do once
                    server.main()
                finally:
                    os._exit(0)
            os.close(theirs)
            os.close(speaks)
            self.stdin, self.stdout = os.fdopen(mine, "wb"), os.fdopen(answers, "rb", 0)

        def poll(self) -> int | None:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if ended else None
            return self.returncode

        def wait(self, timeout: float = PATIENCE) -> int:
            deadline = time.monotonic() + timeout
            while (code := self.poll()) is None:
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired("the server", timeout)
                time.sleep(0.01)
            return code

        def kill(self) -> None:
            if self.poll() is None:
                os.kill(self.pid, signal.SIGKILL)


class Scene:
    """A run in a folder of its own; what the user saw of it, and what there was when the fault came."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.cache = folder, folder / "out", folder / "cache"
        self.suite = folder / "small.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.suite.write_text(SUITE)
        self.seen: list[str] = []
        self.code = 0
        self.before: dict[str, bytes] = {}
        self.had_checkpoint = False

    def run(
        self,
        *options: str,
        engine: str = "local",
        meanwhile: Callable[[int], object] = int,
        prepare: Callable[[], object] = int,
        release: bool = True,
    ) -> None:
        """The command in a fork of this process, after `prepare` there; `meanwhile` is told the fork's number.

        The first training to write a checkpoint waits behind it until `meanwhile` is over, so that the fault meets it
        there however fast the machine is; without `release` it waits until it is ended.
        """
        known = ["run", str(self.suite), "--out", str(self.out), "--devices", "cpu", "--checkpoint-seconds", "0.1"]
        said, parent = self.folder / "said", os.getpid()
        said.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            self._command(said, parent, [*known, "--engine", engine, *options], prepare)
        try:
            meanwhile(pid)
            if release:
                (self.folder / "released").touch()
            status = _end_of(pid)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            raise
        self.code = os.waitstatus_to_exitcode(status)
        text = said.read_text().replace(str(self.folder), "DIR")
        self.seen += [line for line in text.splitlines() if line.strip()]

    def _command(self, said: Path, parent: int, words: list[str], prepare: Callable[[], object]) -> NoReturn:
        """The command line in this process, which has been forked: its group, streams and signals are as a shell's."""
        code = 99
        try:
            os.setpgid(0, 0)
            die_with_parent(parent)
            os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # threads spin where others use the cores
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with open(os.devnull, "w") as nowhere, said.open("w") as file:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w") for number in (1, 2))
            os.environ.update({"LATENTBENCH_CACHE": str(self.cache), "COLUMNS": "200"})
            client.subprocess = ForkedServers  # type: ignore[assignment, attr-defined]
            _tell_when_resumed(self.folder / "resumed")
            _wait_behind_the_first_checkpoint(self.folder)
            prepare()
            code = cli.main(words)
            sys.stderr.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def trains(self) -> None:
        """Wait until the training has left a checkpoint on its way, and waits itself; then note what there is."""
        deadline = time.monotonic() + PATIENCE
        while not (self.folder / "saved").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no training begins: {(self.folder / 'said').read_text()}")
            time.sleep(0.01)
        self.note()

    def note(self) -> None:
        """What there is when the fault comes."""
        self.before = records(self.out)
        self.had_checkpoint = bool(list(self.out.glob("jobs/tokenizer/*/checkpoint.safetensors")))

    def log(self) -> list[str]:
        """What the training's attempts wrote."""
        paths = sorted(self.out.glob("jobs/tokenizer/*/log/*.log"), key=lambda path: path.stat().st_mtime_ns)
        text = "\n".join(path.read_text() for path in paths)
        return text.replace(str(self.folder), "DIR").splitlines()


def records(out: Path) -> dict[str, bytes]:
    """The records of finished jobs, by kind."""
    contents = {path: path.read_bytes() for path in out.glob("jobs/*/*/record.json")}
    finished = {path: record for path, record in contents.items() if b'"status": "finished"' in record}
    return {path.parent.parent.name: record for path, record in finished.items()}


def content(record: bytes) -> dict[str, Any]:
    """Without what two runs of a job may differ in."""
    return {name: value for name, value in json.loads(record).items() if name != "run"}


def _tell_when_resumed(file: Path) -> None:
    """Have trainings of this process, and of those that it starts, make the file where they go on."""
    resume = TrainingState.resume

    def told(state: TrainingState, path: Path) -> bool:
        resumed = resume(state, path)
        if resumed:
            file.touch()
        return resumed

    TrainingState.resume = told  # type: ignore[method-assign]


def _wait_behind_the_first_checkpoint(folder: Path) -> None:
    """Have the first of all trainings to write a checkpoint wait until somebody releases it."""
    save = TrainingState.save

    def told(state: TrainingState, path: Path, started: float) -> None:
        save(state, path, started)
        try:
            (folder / "saved").touch(exist_ok=False)
        except FileExistsError:
            return
        deadline = time.monotonic() + PATIENCE
        while not (folder / "released").exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    TrainingState.save = told  # type: ignore[method-assign]


def _end_of(pid: int) -> int:
    """The status of the process, once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            raise TimeoutError("the run does not end")
        time.sleep(0.02)


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


def interrupted(*signals: int) -> Callable[[Scene], None]:
    """The run's group gets these signals in its training, half a second apart."""

    def fault(scene: Scene) -> None:
        def send(run: int) -> None:
            scene.trains()
            for number in signals:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run, number)
                time.sleep(0.5)

        scene.run(meanwhile=send)

    return fault


def worker_gets(number: int, *options: str) -> Callable[[Scene], None]:
    """The process that trains gets a signal."""

    def fault(scene: Scene) -> None:
        scene.run(*options, release=False, meanwhile=lambda run: (scene.trains(), os.kill(worker_of(run), number)))

    return fault


def server_hangs(scene: Scene) -> None:
    def quick() -> None:
        client.PING_SECONDS, client.SILENT_SECONDS = 0.5, 20.0

    def stop(run: int) -> None:
        scene.trains()
        os.kill(_children(run)[-1], signal.SIGSTOP)

    scene.run(prepare=quick, meanwhile=stop, release=False)


def node_is_lost(scene: Scene) -> None:
    """Of one of two machines nothing is left but its files."""
    options = ("--lease", "5")
    scene.run(*options, engine="leases", meanwhile=lambda run: (scene.trains(), os.killpg(run, signal.SIGKILL)))
    scene.run(*options, engine="leases")


def unwritable(number: int) -> Callable[[Scene], None]:
    """No checkpoint can be written: the system's error is `number`."""

    def prepare() -> None:
        replace = os.replace

        def refused(source: Any, target: Any, **options: Any) -> None:
            if "checkpoint" in str(target):
                raise OSError(number, os.strerror(number), str(target))
            replace(source, target, **options)

        os.replace = refused

    def fault(scene: Scene) -> None:
        scene.run(prepare=prepare)
        scene.note()

    return fault


def clock_jumps(scene: Scene) -> None:
    """Each look at the clock is a day before the last one."""

    def prepare() -> None:
        now, looks = time.time, iter(range(10**9))
        time.time = lambda: now() - 86_400.0 * next(looks)

    scene.run(prepare=prepare, meanwhile=lambda _: scene.trains())


def flipped(kind: str, name: str) -> Callable[[Scene], None]:
    """A bit of that file of a finished job is another; something that reads it is left to be done."""

    def fault(scene: Scene) -> None:
        scene.run(engine="inline")
        scene.seen.clear()
        if name != RECORD:
            shutil.rmtree(scene.out / "jobs" / "modelability")
        scene.note()
        [path] = scene.out.glob(f"jobs/{kind}/*/{name}")
        _flip(path, near=b"finished" if name == RECORD else b"")
        scene.run()

    return fault


def flipped_checkpoint(scene: Scene) -> None:
    scene.run(meanwhile=lambda run: (scene.trains(), os.killpg(run, signal.SIGKILL)))
    scene.seen.clear()
    [path] = scene.out.glob("jobs/tokenizer/*/checkpoint.safetensors")
    _flip(path)
    scene.run()
    scene.seen += [f"in the job's log: {line}" for line in scene.log() if "checkpoint" in line]


def _flip(path: Path, *, near: bytes = b"") -> None:
    """Change a bit, of the first `near` where that is given."""
    content = bytearray(path.read_bytes())
    content[content.index(near) if near else len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def cache_is_evicted(scene: Scene) -> None:
    scene.run(meanwhile=lambda _: (scene.trains(), shutil.rmtree(scene.cache)))


def loss_is_nan(scene: Scene) -> None:
    scene.run("--set", "training.lr=1e30", "--set", "training.clip=0")
    scene.note()


# What it is called, how it is brought about, and by what.
FAULTS: Mapping[str, tuple[str, Callable[[Scene], None]]] = {
    "a worker dies": ("SIGKILL to the process that trains", worker_gets(signal.SIGKILL)),
    "the run and all of its processes die": ("SIGKILL to the group", interrupted(signal.SIGKILL)),
    "a node is lost": ("SIGKILL to all of one of two machines that share a folder", node_is_lost),
    "the disk is full": ("ENOSPC where a checkpoint is written", unwritable(errno.ENOSPC)),
    "the quota is used up": ("EDQUOT there", unwritable(errno.EDQUOT)),
    "the folder becomes read-only": ("EROFS there", unwritable(errno.EROFS)),
    "the clock jumps": ("each look at it is a day earlier", clock_jumps),
    "a checkpoint rots": ("a flipped bit after a kill", flipped_checkpoint),
    "latents rot": ("a flipped bit in a finished job's file", flipped("latents", "train.values.npy")),
    "a model rots": ("the same in weights", flipped("tokenizer", "model.safetensors")),
    "a record rots": ("the same in a record", flipped("reconstruction", RECORD)),
    "the cache is evicted under a reader": ("its folder is removed in training", cache_is_evicted),
    "the loss is NaN": ("a learning rate of 1e30", loss_is_nan),
    "a worker hangs": (
        "SIGSTOP to the process that trains; `--stall 0.3`",
        worker_gets(signal.SIGSTOP, "--stall", "0.3"),
    ),
    "the server hangs": ("SIGSTOP to it; its patience set to 20 seconds", server_hangs),
    "Ctrl-C, once": ("SIGINT to the group", interrupted(signal.SIGINT)),
    "Ctrl-C, twice": ("SIGINT to the group, again after half a second", interrupted(signal.SIGINT, signal.SIGINT)),
    "a cluster ends the job": ("SIGTERM to the group", interrupted(signal.SIGTERM)),
    "the terminal is closed": ("SIGHUP to the group", interrupted(signal.SIGHUP)),
}


def undisturbed(folder: Path) -> Path:
    """The output of a run that nothing disturbs."""
    scene = Scene(folder)
    scene.run(engine="inline")
    if scene.code:
        raise RuntimeError("\n".join(scene.seen))
    return scene.out


def brought_about(name: str, folder: Path, whole: Path) -> dict[str, Any]:
    """The fault in `folder`: what came out, as docs/faults.json has it. `whole` is what an undisturbed run leaves."""
    how, fault = FAULTS[name]
    scene = Scene(folder)
    fault(scene)
    seen, code = [plain(line) for line in scene.seen], scene.code
    scene.run(engine="inline")  # the same command again, undisturbed
    if scene.code:
        raise RuntimeError(f"{name}: it does not go on: {scene.seen}")
    after, expected = records(scene.out), records(whole)
    kept = sorted(kind for kind, record in scene.before.items() if after.get(kind) == record)
    same = {kind: content(record) for kind, record in after.items()} == {k: content(r) for k, r in expected.items()}
    for path in whole.glob("jobs/*/*/*"):
        if path.suffix in (".npy", ".safetensors"):
            same &= (scene.out / path.relative_to(whole)).read_bytes() == path.read_bytes()
    return {
        "how": how,
        "exit": code,
        "seen": [line for line in seen if not _usual(line)],
        "records": len(scene.before),
        "kept": kept,
        "again": sorted(scene.before.keys() - kept),
        "checkpoint": scene.had_checkpoint,
        "continued": (scene.folder / "resumed").exists(),
        "same": same,
    }


def plain(line: str) -> str:
    """A line of a run without what is this run's alone: the time, the count of jobs, keys."""
    line = re.sub(r"^\d{4}-\d\d-\d\d [\d:]+ (\[\d+/\d+\] )?", "", line)
    return re.sub(r"\b[0-9a-f]{12,}\b", "KEY", line)


def _usual(line: str) -> bool:
    """Whether a run that nothing disturbs says so too."""
    return bool(re.match(r"(started|finished|progress)\b|\d+ jobs? (is|are) finished already|\d+ jobs?; ", line))


def alike(result: Mapping[str, Any]) -> dict[str, Any]:
    """What of a result is the same whenever the fault is brought about: all but paths and numbers in lines."""

    def bare(line: str) -> str:
        for pattern in _VOLATILE:
            line = re.sub(pattern, "#", line)
        return line

    # A stall may be told twice of a busy machine.
    return {**result, "seen": [line for line, _ in itertools.groupby(map(bare, result["seen"]))]}


def main() -> None:
    names = sys.argv[1:] or list(FAULTS)
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    import latentbench.bench.job_context  # noqa: F401  # torch, once for all

    with tempfile.TemporaryDirectory() as place:
        whole = undisturbed(Path(place) / "undisturbed")
        for number, name in enumerate(names):
            results[name] = brought_about(name, Path(place) / str(number), whole)
            print(name, json.dumps(results[name], indent=1, ensure_ascii=False), flush=True)
            ordered = {known: results[known] for known in FAULTS if known in results}
            FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
