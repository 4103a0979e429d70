"""Runs that are killed, and begun again, until they are done: what all of them have in common."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from small_run import Place, content, differences, records


class Disturbed:
    """A run, what has been killed of it so far, and what went wrong."""

    def __init__(self, place: Place, draw: random.Random) -> None:
        self.place, self.draw = place, draw
        self.kills: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.finished: dict[Path, bytes] = {}

    def to_the_end(self, most: int) -> None:
        """Kill, and start again, until it is done; without further kills after `most`."""
        raise NotImplementedError

    def differences(self, undisturbed: Place) -> list[str]:
        """What is not as an undisturbed run left it."""
        return differences(self.place, undisturbed)

    def remember(self) -> bool:
        """Compare finished records with those of the last look; whether there is a new one."""
        now = records(self.place)
        for path, record in self.finished.items():
            if path not in now:
                self.wrong.append(f"{path}: lost")
            elif now[path] != record:
                self.wrong.append(f"{path}: {'redone' if content(now[path]) == content(record) else 'different'}")
        before = len(self.finished)
        self.finished = {path: record for path, record in now.items() if b'"status": "finished"' in record}
        return len(self.finished) > before


def kill(kills: int, begin: Callable[[int], Disturbed], undisturbed: Place, *, most: int) -> int:
    """Kill `kills` times in runs that `begin(number)`, at most `most` times in one, and print how it went; returns how
    many things were wrong."""
    undisturbed.finish()
    done: Counter[str] = Counter()
    wrong = runs = followed = 0
    while done.total() < kills:
        run = begin(runs)
        run.to_the_end(min(most, kills - done.total()))
        lines = run.wrong + run.differences(undisturbed)
        for line in lines:
            print(line, flush=True)
        wrong += len(lines)
        done += run.kills
        followed += len(run.finished)
        runs += 1
        print(f"{done.total()} kills so far", flush=True)
    counts = ", ".join(f"{count} {victim}" for victim, count in done.most_common())
    print(f"{done.total()} kills ({counts}) in {runs} runs of {followed} records: {wrong} things wrong")
    return wrong


def by_hand(main: Callable[[int, int, Path], int]) -> None:
    """Call `main(kills, seed, folder)` with the command line's numbers; exits with 1 where something was wrong, and
    says where the runs lie."""
    numbers = [int(argument) for argument in sys.argv[1:]]
    started = time.monotonic()
    home = Path(tempfile.mkdtemp())
    count = main(numbers[0] if numbers else 300, numbers[1] if len(numbers) > 1 else 0, home)
    if count:
        print(f"the runs lie in {home}")
    else:
        shutil.rmtree(home)
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(1 if count else 0)
