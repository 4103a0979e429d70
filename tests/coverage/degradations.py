"""Which feature nets rank damage: Fréchet distances of five kinds of damage at four strengths each, real data.

LATENTBENCH_WEIGHTS=<folder> python -P tests/coverage/degradations.py DATA CACHE [--nets ...] [--sets ...] [--table]

DATA holds real images, sounds and clips. Features are kept in CACHE, set by set, so that a run that was stopped goes on
where it stopped; `--table` computes none and prints the table of what is there. r is the distance of damaged samples to
the same samples undamaged; g that of damaged samples to the training split, which holds other samples, so that the
undamaged ones have a distance too: the floor.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from latentbench.bench.training import train
from latentbench.tasks.features import collect
from latentbench.tasks.interface import FeatureNet
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.config import EncoderConfig
from latentbench.tasks.nets.encoder import EncoderTrainer, LabelledSource
from latentbench.tokenizers.spec import Modality

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
import itertools

from degraded_sets import BENCHES, TRAIN, Bench, N

ENCODER = "encoder"
# What costs seconds a sample on a CPU is judged on fewer: (samples a set, training samples).
FEWER = {"inception": (64, 512), "i3d": (24, 128)}
CLIPS = (64, TRAIN)
# The field's nets, which the others are compared with.
FIELD = ("inception", "mobilenet_v2", "yamnet", "musicnn", "i3d")


class _Training:
    """A bench's training samples as a split of a data set."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.signal, self.labels = bench, bench.signal, bench.labels

    def __len__(self) -> int:
        return len(self.bench.train)

    def batch(self, indices: np.ndarray, device: torch.device) -> torch.Tensor:
        return self.bench.to_float(self.bench.train[indices]).to(device)

    sources = batch


def load(name: str, bench: Bench) -> FeatureNet:
    """The net for the bench's signals; the encoder is trained first, as a suite does it."""
    device = torch.device("cpu")
    if name != ENCODER:
        net = nets.get(name)().load(bench.signal, device)
        assert isinstance(net, FeatureNet)
        return net
    classes = 0 if bench.labels is None else len(np.unique(bench.labels))
    torch.manual_seed(0)
    trainer = EncoderTrainer(EncoderConfig(), bench.signal, classes)
    with tempfile.TemporaryDirectory() as folder:
        source = LabelledSource(_Training(bench))
        train(trainer, source, trainer.config.training, seed=0, folder=Path(folder), device=device)
    return trainer.net()


def compute(name: str, bench: Bench, folder: Path) -> None:
    """Features of all sets that `folder` lacks, and the seconds of 256 samples."""
    n, training = FEWER.get(name, CLIPS if bench.signal.modality is Modality.VIDEO else (N, TRAIN))
    missing = [(key, make) for key, make in bench.sets(n, training) if not (folder / f"{key}.npy").exists()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    net = load(name, bench)
    for key, make in missing:
        x = make()
        started = time.process_time()
        features = collect(net, (bench.to_float(x[i : i + 32]) for i in range(0, len(x), 32)))
        seconds = (time.process_time() - started) * 256 / len(x)
        np.save(folder / f"{key}.npy", features.numpy())
        with (folder / "seconds.txt").open("a") as file:
            file.write(f"{seconds:.4g}\n")
        print(f"{bench.name}: {name}: {key}: {seconds:.3g} s for 256", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one net says of one bench; a condition whose features are missing is missing here."""

    r: Mapping[tuple[str, float], float]
    g: Mapping[tuple[str, float], float]
    floor: float
    n: int
    effective: float
    dim: int
    seconds: float


def judge(bench: Bench, folder: Path) -> Verdict | None:
    """The distances of the sets in `folder`, or None where too few are there."""
    features = {path.stem: torch.from_numpy(np.load(path)) for path in folder.glob("*.npy")}
    if not {"reference", "others", "train"} <= set(features):
        return None
    distances: dict[str, dict[tuple[str, float], float]] = {"r": {}, "g": {}}
    against = {"r": FrechetReference.of(features["reference"]), "g": FrechetReference.of(features["train"])}
    for role, reference in against.items():
        for kind, strength in bench.conditions:
            x = features.get(f"{role} {kind} {strength:g}")
            if x is not None:
                distances[role][kind, strength] = frechet_distance(x, reference)
    values = torch.linalg.svdvals(features["train"].double() - features["train"].double().mean(0)) ** 2
    return Verdict(
        **distances,
        floor=frechet_distance(features["others"], against["g"]),
        n=len(features["reference"]),
        effective=float(values.sum() ** 2 / (values**2).sum()),
        dim=features["train"].shape[1],
        seconds=float(np.median(np.loadtxt(folder / "seconds.txt", ndmin=1))),
    )


def broken(bench: Bench, distances: Mapping[tuple[str, float], float], floor: float | None = None) -> list[str]:
    """The kinds whose distance does not rise with strength (from the floor on, where there is one)."""
    kinds = []
    for kind, (_, strengths) in bench.kinds.items():
        row = [distances[kind, s] for s in strengths if (kind, s) in distances]
        row = row if floor is None else [floor, *row]
        if any(b <= a for a, b in itertools.pairwise(row)):
            kinds.append(kind)
    return kinds


def agreement(a: Mapping[tuple[str, float], float], b: Mapping[tuple[str, float], float]) -> float:
    """Kendall's τ of two nets' orders over the conditions that both have."""
    shared = [condition for condition in a if condition in b]
    return float(kendalltau([a[c] for c in shared], [b[c] for c in shared]).statistic)


def report(bench: Bench, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """The bench's two Markdown tables: a line per net, and the distances of each kind."""
    field = [name for name in FIELD if name in verdicts]
    yield f"### {bench.name}\n"
    heads = [f"τ with {name} (r, g)" for name in field]
    yield "| net | N | not monotone in r | in g | " + " | ".join(heads) + " | effective dimensions | s for 256 |"
    yield "| --- " * (6 + len(field)) + "|"
    for name, v in verdicts.items():
        pairs = [(agreement(v.r, verdicts[other].r), agreement(v.g, verdicts[other].g)) for other in field]
        taus = ["–" if name == other else f"{r:.2f}, {g:.2f}" for other, (r, g) in zip(field, pairs, strict=True)]
        wrong = [", ".join(broken(bench, v.r)) or "none", ", ".join(broken(bench, v.g, v.floor)) or "none"]
        last = [f"{v.effective:.1f} of {v.dim}", f"{v.seconds:.2g}"]
        yield "| " + " | ".join([f"`{name}`", str(v.n), *wrong, *taus, *last]) + " |"
    for role, title in (("r", "r"), ("g", "g over the floor's")):
        yield f"\n| {title} | " + " | ".join(f"`{name}`" for name in verdicts) + " |"
        yield "| --- " * (1 + len(verdicts)) + "|"
        for kind, (_, strengths) in bench.kinds.items():
            cells = []
            for v in verdicts.values():
                values = v.r if role == "r" else v.g
                unit = 1.0 if role == "r" else v.floor
                row = [f"{values[kind, s] / unit:.3g}" if (kind, s) in values else "–" for s in strengths]
                cells.append(" · ".join(row))
            yield f"| {kind} {', '.join(f'{s:g}' for s in strengths)} | " + " | ".join(cells) + " |"
    yield ""


def main() -> None:
    """Compute what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--nets", nargs="+", default=[ENCODER, *nets.names()])
    parser.add_argument("--sets", nargs="+", default=list(BENCHES))
    parser.add_argument("--table", action="store_true", help="compute nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for key in arguments.sets:
        bench = BENCHES[key](arguments.data)
        serving = [n for n in arguments.nets if n == ENCODER or bench.signal.modality in nets.get(n).modalities]
        verdicts = {}
        for name in serving:
            folder = arguments.cache / key / name
            if not arguments.table:
                compute(name, bench, folder)
            verdict = judge(bench, folder)
            if verdict is not None:
                verdicts[name] = verdict
        print("\n".join(report(bench, verdicts)), flush=True)


if __name__ == "__main__":
    main()
