"""Machines that die while they share a folder: nothing is lost, redone, different or run twice at once.

Run by hand: `python -P tests/coverage/lease_kills.py [KILLS] [SEED]`. Three `latentbench work` on one folder; kills
(signal 9) one of them, its server, a worker or all of its processes, or stops them for longer than a lease holds, while
others are killed. A kill comes some seconds after one of the three has a job at work. Prints what went wrong, and exits
with 1 for any.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from disturbed import Disturbed, by_hand, kill
from kills import children
from small_run import Place

MACHINES = 3
VICTIMS = {"machine": 1, "server": 1, "all": 1, "stopped": 1, "asleep": 1, "worker": 6}  # how often, in proportion
LEASE = 6.0  # seconds
SMALLER = (
    ("samples = 64, val = 32", "samples = 32, val = 16"),
    ("training = {steps = 60", "seeds = [0, 1]\ntraining = {steps = 12"),
    ("steps = 20", "steps = 6"),
    ("samples = 32}\n[prior]", "samples = 16}\n[prior]"),
)
LONGEST = 300.0  # without a kill, or a record that is new
UNSTARTED = 120.0  # without a job at work
SETTLED = 15.0  # seconds, after which a process that was no worker will be none
SPARED = 2  # deaths of one job's workers; a third by itself, on one machine, fails it


class Workers:
    """Whose call tells the jobs of the workers that live, and can run, by process: their output leads into a job's log.

    A process that was none for some seconds will be none: so a look costs a busy machine little.
    """

    def __init__(self, place: Place) -> None:
        self.root = f"{place.out.resolve()}/jobs/"
        self.since: dict[str, float] = {}

    def __call__(self) -> dict[int, str]:
        now, jobs = time.monotonic(), dict[int, str]()
        self.since = {pid: self.since.get(pid, now) for pid in os.listdir("/proc") if pid.isdecimal()}
        for pid in [pid for pid, since in self.since.items() if now - since < SETTLED]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                log = os.readlink(f"/proc/{pid}/fd/1")
                if not log.startswith(self.root):
                    continue
                self.since[pid] = now
                if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZXT":
                    jobs[int(pid)] = "/".join(log.removeprefix(self.root).split("/")[:2])
        return jobs


class Doubles(threading.Thread):
    """Looks, all the time, whether a job has two workers."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self.workers, self.seen, self.looks = Workers(place), set[str](), 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.looks += 1
            at_work = Counter(self.workers().values())
            # one that ended between two looks at /proc is no double: both have to be there still
            for job in [job for job, count in at_work.items() if count > 1]:
                if Counter(self.workers().values())[job] > 1:
                    self.seen.add(job)


class Sweep(Disturbed):
    """One folder, its machines, and what has been done to them so far."""

    place: Shared

    def __init__(self, place: Shared, draw: random.Random, patience: float) -> None:
        super().__init__(place, draw)
        self.patience, self.workers = patience, Workers(place)
        self.machines: list[subprocess.Popen[str]] = []
        self.deaths: Counter[str] = Counter()  # of the workers of each job
        self.wakes: list[tuple[float, list[int]]] = []  # when to let stopped processes go on

    def to_the_end(self, most: int) -> None:
        self.place.plan(LEASE)
        doubles = Doubles(self.place)
        doubles.start()
        self.machines = [self.place.work() for _ in range(MACHINES)]
        last = time.monotonic()
        while self.machines:
            if self.kills.total() < most:
                self._wait_for_work()
                time.sleep(self.draw.uniform(0.0, self.patience))
                last = time.monotonic() if self._disturb(self.draw.choice(self.machines)) else last
            else:
                time.sleep(0.2)
            self._wake()
            self._replace()
            last = time.monotonic() if self.remember() else last
            if time.monotonic() - last > LONGEST:
                self.wrong.append(f"hangs, with {len(self.machines)} machines")
                for process in self.machines:
                    os.killpg(process.pid, signal.SIGKILL)
                break
        doubles.over.set()
        doubles.join()
        self.wrong += [f"{job}: run twice at once" for job in doubles.seen]
        for folder in self.place.out.glob("jobs/*/*"):
            done = sum("\nfinished after" in log.read_text() for log in folder.glob("log/*.log"))
            if done > 1:
                self.wrong.append(f"{folder}: done {done} times")

    def _wait_for_work(self) -> None:
        """Until a job is at work, or the machines have ended, or it takes too long: there are other ways to notice."""
        until = time.monotonic() + UNSTARTED
        while time.monotonic() < until and not self.workers():
            time.sleep(0.3)
            self._wake()
            if all(process.poll() is not None for process in self.machines):
                return

    def _disturb(self, machine: subprocess.Popen[str]) -> bool:
        """Kill or stop something of the machine; False where there is nothing of the sort."""
        (victim,) = self.draw.choices(list(VICTIMS), list(VICTIMS.values()))
        servers = children(machine.pid)
        at_work = self.workers()
        workers = [worker for server in servers for worker in children(server)]
        mortal = [worker for worker in workers if worker in at_work and self.deaths[at_work[worker]] < SPARED]
        family = [machine.pid, *servers, *workers]
        pids = {"machine": [machine.pid], "server": servers, "worker": mortal[:1], "all": family}
        pids |= {"stopped": [machine.pid], "asleep": family}
        if machine.poll() is not None or not pids[victim]:
            return False
        self.kills[victim] += 1
        print(end=".", flush=True)
        if victim == "worker":
            self.deaths[at_work[mortal[0]]] += 1
        if victim in ("stopped", "asleep"):
            self._send(pids[victim], signal.SIGSTOP)
            self.wakes.append((time.monotonic() + 2 * LEASE, pids[victim]))
        else:
            self._send(pids[victim], signal.SIGKILL)
        return True

    def _wake(self) -> None:
        """Let those go on who have been stopped for long enough."""
        now = time.monotonic()
        for _, pids in [item for item in self.wakes if item[0] <= now]:
            self._send(pids, signal.SIGCONT)
        self.wakes = [item for item in self.wakes if item[0] > now]

    def _send(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _replace(self) -> None:
        """A new machine for each that has died."""
        for process in list(self.machines):
            if process.poll() is None:
                continue
            self.machines.remove(process)
            _, said = process.communicate()
            # 2: its server was killed three times in a row
            ended_by_kills = process.returncode == -signal.SIGKILL or "the job server died" in said
            if "Traceback" in said or (process.returncode and not ended_by_kills):
                self.wrong.append(f"exit {process.returncode}: {said[-800:]}")
            if ended_by_kills:
                self.machines.append(self.place.work())

    def differences(self, undisturbed: Place) -> list[str]:
        assert isinstance(undisturbed, Shared)
        other = [] if self.place.table() == undisturbed.table() else ["another leaderboard"]
        return super().differences(undisturbed) + other


class Shared(Place):
    """A folder that several machines share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = self.suite.read_text()
        for old, new in SMALLER:
            assert old in text, f"the suite has no {old!r}"
            text = text.replace(old, new)
        self.suite.write_text(text)

    def plan(self, lease: float) -> None:
        """Write the plan that the machines work on."""
        process = self.start("--engine", "leases", "--lease", str(lease), "--plan-only")
        _, said = process.communicate(timeout=300)
        if process.returncode:
            raise RuntimeError(f"exit {process.returncode}: {said[-2000:]}")

    def work(self) -> subprocess.Popen[str]:
        """Another machine joins."""
        return self.command("work", str(self.out), "--devices", "cpu", "--jobs-per-device", "1")

    def table(self) -> str:
        """The leaderboard without what two runs of one suite may differ in: times, and where it lies."""
        process = self.command("leaderboard", str(self.out), "--format", "csv", stdout=subprocess.PIPE)
        text, _ = process.communicate(timeout=300)
        volatile = ("seconds", "per_second", "peak_memory_bytes", "source")
        lines = [
            {name: value for name, value in line.items() if not name.endswith(volatile)}
            for line in csv.DictReader(io.StringIO(text))
        ]
        return repr(lines)


def main(kills: int, seed: int, folder: Path, *, patience: float = 3.0, most: int = 25) -> int:
    """Kill `kills` times, at most `most` in a sweep, and print how it went; returns how many things were wrong."""
    draw = random.Random(seed)

    def begin(number: int) -> Sweep:
        return Sweep(Shared(folder / f"sweep-{number}"), draw, patience)

    return kill(kills, begin, Shared(folder / "undisturbed"), most=most)


if __name__ == "__main__":
    by_hand(main)
