"""Single flipped bits in what a run has left: each is noticed and mended by the next run, and no number moves.

Run by hand: `python -P tests/coverage/bit_flips.py [FLIPS] [SEED]`. Flips one bit in each of FLIPS files (200) of a
finished and of interrupted runs, several in one round but never two in one job's folder, and lets the run go on.
Prints what was not mended, and exits with 1 for any.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from small_run import Place, content, differences

FLIPS_A_ROUND = 8
SORTS = ("record", "weights", "latents", "artifact", "checkpoint", "cache", "suite")


@dataclass(frozen=True)
class Flip:
    """Bit `bit` of byte `byte` of a file, whose path is relative to a place's folder."""

    sort: str
    file: Path
    byte: int
    bit: int

    def apply(self, place: Place) -> None:
        """Flip it where it lies, as a disk does: size and time of change stay."""
        path = place.folder / self.file
        status = path.stat()
        with path.open("r+b") as file:
            file.seek(self.byte)
            (value,) = file.read(1)
            file.seek(self.byte)
            file.write(bytes([value ^ 1 << self.bit]))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def is_mended(self, place: Place, undisturbed: Place) -> bool:
        """Whether the file is again what it was, or, where it was needed for a while only, its loss was told."""
        path = place.folder / self.file
        if self.sort == "checkpoint":
            logs = (path.parent / "log").glob("*.log")
            return not path.exists() and any("not a checkpoint of this training" in log.read_text() for log in logs)
        mine, theirs = path.read_bytes(), (undisturbed.folder / self.file).read_bytes()
        return content(mine) == content(theirs) if self.sort == "record" else mine == theirs


def flippable(place: Place) -> dict[str, list[Path]]:
    """The files of a run in which a bit may be flipped, by sort."""
    files: dict[str, list[Path]] = {sort: [] for sort in SORTS}
    for record in sorted(place.out.glob("jobs/*/*/record.json")):
        files["record"].append(record)
        for name in sorted(json.loads(record.read_bytes())["artifacts"]):
            kind = record.parent.parent.name
            sort = "weights" if name == "model.safetensors" else "latents" if kind == "latents" else "artifact"
            files[sort].append(record.parent / name)
    files["checkpoint"] = sorted(place.checkpoints())
    files["cache"] = sorted(path for path in place.cache.glob("datasets/*/*") if path.is_file())
    files["suite"] = sorted(place.out.glob("suites/*.json"))
    return {sort: [path.relative_to(place.folder) for path in paths] for sort, paths in files.items() if paths}


def draw_flips(place: Place, draw: random.Random, sorts: Sequence[str]) -> list[Flip]:
    """A flip for each of `sorts` that the run has files of, no two in one folder."""
    files, flips = flippable(place), list[Flip]()
    for sort in sorts:
        folders = {flip.file.parent for flip in flips}
        choice = [path for path in files.get(sort, []) if path.parent not in folders]
        if choice:
            path = draw.choice(choice)
            flips.append(Flip(sort, path, draw.randrange((place.folder / path).stat().st_size), draw.randrange(8)))
    return flips


def states(folder: Path) -> tuple[Place, list[Place]]:
    """An undisturbed run; and what bits are flipped in: it, it with its last jobs to be done, interrupted ones."""
    undisturbed = Place(folder / "undisturbed")
    undisturbed.finish()
    interrupted = []
    place = Place(folder / "running")
    for kind in ("tokenizer", "encoder", "prior"):
        if place.stop_while_training(kind):
            interrupted.append(place.copy(folder / f"stopped-{kind}"))
    unmeasured = undisturbed.copy(folder / "unmeasured")
    for record in unmeasured.out.glob("jobs/generation/*/record.json"):
        record.unlink()
    return undisturbed, [undisturbed, unmeasured, *interrupted]


def round_of_flips(state: Place, undisturbed: Place, flips: Sequence[Flip], folder: Path) -> list[str]:
    """Flip, run on, and say what is not mended."""
    place = state.copy(folder)
    for flip in flips:
        flip.apply(place)
    try:
        place.finish()
    except RuntimeError as error:
        return [f"{flips}: {error}"]
    wrong = [f"{flip}: not mended" for flip in flips if not flip.is_mended(place, undisturbed)]
    return wrong + [f"{flips}: {line}" for line in differences(place, undisturbed)]


def main(flips: int, seed: int, folder: Path) -> int:
    """Flip `flips` bits and print how it went; returns how many things were wrong."""
    draw = random.Random(seed)
    undisturbed, choice = states(folder)
    done: Counter[str] = Counter()
    wrong: list[str] = []
    rounds = 0
    while done.total() < flips:
        # A record that is gone gives a finished run something to do, for which it reads the decoded data.
        sorts = ["record", "checkpoint", *draw.choices(SORTS, k=FLIPS_A_ROUND - 2)][: flips - done.total()]
        state = choice[rounds % len(choice)]
        drawn = draw_flips(state, draw, sorts)
        lines = round_of_flips(state, undisturbed, drawn, folder / "round")
        for line in lines:
            print(line, flush=True)
        wrong += lines
        done.update(flip.sort for flip in drawn)
        rounds += 1
    counts = ", ".join(f"{count} {sort}" for sort, count in done.most_common())
    print(f"{done.total()} flips in {rounds} rounds ({counts}): {len(wrong)} things wrong")
    return len(wrong)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        count = main(numbers[0] if numbers else 200, numbers[1] if len(numbers) > 1 else 0, Path(home))
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(1 if count else 0)
