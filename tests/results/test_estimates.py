"""All estimates of a table at once are those of each entry alone, to the bit."""

from __future__ import annotations

import random

import numpy as np

from latentbench.results.estimates import estimates
from latentbench.results.statistics import Entry

SEEDS = 5


def test_they_are_the_entries_own() -> None:
    rng = random.Random(3)
    entries: list[Entry] = []
    for _ in range(300):
        scale = 10.0 ** rng.randrange(-200, 140, 20)
        values = {seed: rng.gauss(1, 1) * scale for seed in range(SEEDS) if rng.random() < 0.6}
        if rng.random() < 0.3:
            values = dict.fromkeys(values, 0.1 * scale)  # seeds that change nothing
        within = (rng.random() * scale, 2.5 * scale) if rng.random() < 0.5 else None
        entries.append(Entry(values=values, within=within))
    numbers, present = np.zeros((len(entries), SEEDS)), np.zeros((len(entries), SEEDS), dtype=bool)
    around = np.full((len(entries), 2), np.nan)
    for line, entry in enumerate(entries):
        for seed, value in entry.values.items():
            numbers[line, seed], present[line, seed] = value, True
        around[line] = entry.within or (np.nan, np.nan)
    known = estimates(numbers, present, around)
    assert known.counts == [len(entry.values) for entry in entries]
    assert known.frozen == [entry.frozen for entry in entries]
    assert known.values == [entry.estimate.value if entry.values else None for entry in entries]
    assert known.halves == [entry.estimate.half if entry.values else None for entry in entries]
    assert {*known.counts} == {*range(SEEDS + 1)}
    assert 20 < sum(half is not None for half in known.halves) < len(entries)


def test_no_lines_have_no_estimates() -> None:
    known = estimates(np.zeros((0, 1)), np.zeros((0, 1), dtype=bool), np.zeros((0, 2)))
    assert (known.values, known.halves, known.counts, known.frozen) == ([], [], [], [])
