"""Runs that are killed at random moments and started again until they are done: nothing is lost, redone or different.

Run by hand: `python -P tests/coverage/kills.py [KILLS] [SEED]`. Kills (signal 9) the runner, its server, one worker or
all at once. Prints what went wrong, and exits with 1 for any.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from disturbed import Disturbed, by_hand, kill
from small_run import Place

VICTIMS = ("runner", "server", "worker", "all")
LONGEST = 8.0  # seconds from a start to a kill; an undisturbed run takes some more


def children(process: int) -> list[int]:
    """The living children of a process."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
            if int(parent) == process and state != "Z":
                pids.append(int(path.parent.name))
    return pids


class Killed(Disturbed):
    """One run and what has been killed of it so far."""

    def to_the_end(self, most: int) -> None:
        while True:
            process = self.place.start()
            family = {process.pid}
            if self.kills.total() < most:
                family |= self._kill(process.pid)
            try:
                _, said = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                self.wrong.append("hangs")
                os.killpg(process.pid, signal.SIGKILL)
                return
            self._check(family, said)
            if process.returncode == 0:
                return
            # 1: a worker was killed three times; 2: the server was, in a row.
            ended_by_kills = process.returncode in (1, -signal.SIGKILL) or "the job server died" in said
            if not ended_by_kills:
                self.wrong.append(f"exit {process.returncode}: {said[-500:]}")

    def _kill(self, runner: int) -> set[int]:
        """Kill at random moments until the runner itself is gone; the processes that were seen."""
        seen = {runner}
        while True:
            time.sleep(self.draw.uniform(0.0, LONGEST))
            servers = children(runner)
            workers = [worker for server in servers for worker in children(server)]
            seen |= {*servers, *workers}
            victim = self.draw.choice(VICTIMS)
            pids = {"runner": [runner], "server": servers, "worker": workers[:1], "all": [runner, *servers, *workers]}
            if runner not in children(os.getpid()):  # it has ended
                return seen
            for pid in pids[victim]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.kills[victim] += bool(pids[victim])
            if victim in ("runner", "all"):
                return seen

    def _check(self, family: set[int], said: str) -> None:
        if "Traceback" in said:
            self.wrong.append(f"traceback: {said[-500:]}")
        self.remember()
        deadline = time.monotonic() + 5
        while alive := [pid for pid in family if Path(f"/proc/{pid}").exists()]:
            if time.monotonic() > deadline:
                self.wrong.append(f"outlived: {alive}")
                return
            time.sleep(0.05)


def main(kills: int, seed: int, folder: Path) -> int:
    """Kill `kills` times and print how it went; returns how many things were wrong."""
    draw = random.Random(seed)
    return kill(
        kills, lambda number: Killed(Place(folder / f"run-{number}"), draw), Place(folder / "undisturbed"), most=30
    )


if __name__ == "__main__":
    by_hand(main)
