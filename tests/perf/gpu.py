"""The first hour on a GPU, as one command: is it right, does it repeat, does it fit, how fast is it.

    python -P tests/perf/gpu.py [--device cuda] [--out gpu.md] [--quick] [--seconds 5]
        [--recipes NAME ...] [--priors NAME ...] [--tables speed ...]

Six tables in Markdown: what `latentbench doctor` says; results of the GPU against the CPU's; two trainings compared bit
by bit under each value of LATENTBENCH_DETERMINISTIC; peaks of memory against what footprints predict for ten cells;
steps per second eager, in bfloat16, with contiguous weights, compiled, and as a CUDA graph; 1, 2 and 4 jobs at a time
with and without MPS. What can't be done is a dash with the reason. `--recipes` and `--priors` take others in place of
the ten cells, `all` for every one that trains: in its default size on signals of the first modality that it is for, a
prior on latents that it can read. `--tables` makes some of the tables alone. `--quick` takes tiny models and few of
them; `--device cpu` goes through the same code without a GPU. Without a CUDA device it says so and ends with exit
code 2.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentbench.bench import cuda_state
from latentbench.bench.doctor import examine
from latentbench.bench.footprint import latents, signals
from latentbench.bench.footprints import Footprints, Subject
from latentbench.results.errors import UserError
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents, Trainable
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import LatentSpec, MelSpec, Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import train_step

# A cell: a recipe, the modality and shape of its signals, its options and batch; or a prior on the latents of one.
Cell = tuple[str, SignalSpec, dict[str, Any], int, str]
MODES = ("off", "auto", "on")


def signal(*shape: int, modality: Modality | None = None) -> SignalSpec:
    """Images, clips or sounds of that shape; spectrograms where they are asked for."""
    kind = modality or {1: Modality.WAVEFORM, 2: Modality.IMAGE, 3: Modality.VIDEO}[len(shape)]
    rate = {Modality.WAVEFORM: 16_000.0, Modality.VIDEO: 25.0, Modality.SPECTROGRAM: 16_000.0}.get(kind)
    options: dict[str, Any] = {"modality": kind, "channels": 1 if kind.is_audio else 3, "shape": shape, "rate": rate}
    if kind is Modality.SPECTROGRAM:
        options["mel"] = mel = MelSpec(sample_rate=16_000, n_mels=shape[0])
        options["source_shape"] = (1, shape[1] * mel.hop)
    return SignalSpec(**options)


# Signals of each modality, large ones and tiny ones; of the second shape where a recipe can't divide the first.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "image": ((32, 32),),
    "video": ((9, 32, 32), (8, 32, 32)),
    "waveform": ((16_384,),),
    "spectrogram": ((64, 64),),
}
TINY: dict[str, tuple[tuple[int, ...], ...]] = {
    "image": ((16, 16),),
    "video": ((5, 16, 16), (8, 16, 16)),
    "waveform": ((1024,),),
    "spectrogram": ((16, 16),),
}
# Latents on which a prior is tried, until it can read some: values, codes, of several heads, hierarchies, sets.
READ: tuple[tuple[str, dict[str, Any]], ...] = (
    *((recipe, {}) for recipe in ("kl-vae", "vq-vae", "multi-head-vq", "vq-vae-2", "titok", "vq-vae-bpe", "token-set")),
    ("vit-vae", {"backbone": {"tokens": 16, "topology": "set"}}),
)


def cells(args: argparse.Namespace) -> dict[str, Cell]:
    """The trainings that were asked for; else ten unlike ones by name, or two tiny ones."""
    if args.recipes or args.priors:
        return {name: recipe_cell(name, args.quick) for name in named(args.recipes, trained())} | {
            name: prior_cell(name, args.quick) for name in named(args.priors, priors.names())
        }
    return ten_cells(args.quick)


def trained() -> list[str]:
    """The recipes that train by gradients."""
    recipes = [load_recipe(name) for name in recipe_names()]
    return [recipe.name for recipe in recipes if "codec" not in recipe.table and recipe.name != "pca"]


def named(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those that were asked for; exits with a line for one that nobody knows."""
    for name in asked:
        if name not in ("all", *known):
            sys.exit(f"unknown {name}: expected all, or some of {', '.join(known)}")
    return list(known) if "all" in asked else list(asked)


def usable(recipe: str, modality: str, quick: bool, more: dict[str, Any]) -> tuple[SignalSpec, dict[str, Any]] | None:
    """A signal that the recipe can take, and its options there with `more`: its own, or those of a tiny one."""
    for shape in (TINY if quick else SHAPES)[modality]:
        spec = signal(*shape, modality=Modality(modality))
        for small in ({"width": 8, "downsample": 4}, {"downsample": 4}, {}) if quick else ({},):
            with suppress(UserError):
                resolve(recipe, spec, small | more)
                return spec, small | more
    return None


def recipe_cell(name: str, quick: bool) -> Cell:
    """A recipe on signals of the first modality that it is for."""
    modality = str(load_recipe(name).modalities[0])
    spec, options = usable(name, modality, quick, {}) or (signal(*SHAPES[modality][0]), {})
    return name, spec, options, 4 if quick else 32, ""


def prior_cell(name: str, quick: bool) -> Cell:
    """A prior on the latents of the first recipe whose latents it can read."""
    for recipe, more in READ:
        for modality in load_recipe(recipe).modalities:
            known = usable(recipe, str(modality), quick, more)
            if known and priors.get(name)().unsupported_reason(resolve(recipe, *known).spec) is None:
                return recipe, *known, 4 if quick else 64, name
    sys.exit(f"no recipe of {', '.join(sorted({recipe for recipe, _ in READ}))} has latents for {name}")


def ten_cells(quick: bool) -> dict[str, Cell]:
    """Ten unlike trainings by name, or two tiny ones."""
    if quick:
        small = {"width": 8, "downsample": 4}
        return {"fsq": ("fsq", signal(16, 16), small, 4, ""), "flow": ("kl-vae", signal(16, 16), small, 4, "flow")}
    return {
        "kl-vae 32 px": ("kl-vae", signal(32, 32), {}, 32, ""),
        "vq-vae 32 px": ("vq-vae", signal(32, 32), {}, 32, ""),
        "vqgan 64 px": ("vqgan", signal(64, 64), {}, 16, ""),
        "vit-vae 32 px": ("vit-vae", signal(32, 32), {}, 32, ""),
        "diffusion-decoder 32 px": ("diffusion-decoder", signal(32, 32), {}, 16, ""),
        "kl-vae 256 px": ("kl-vae", signal(256, 256), {"width": 64, "downsample": 8}, 8, ""),
        "kl-vae 17 frames": ("causal-video-vae", signal(17, 64, 64), {}, 4, ""),
        "kl-vae sound": ("kl-vae", signal(16384), {}, 16, ""),
        "flow": ("kl-vae", signal(32, 32), {}, 64, "flow"),
        "ar": ("vq-vae", signal(32, 32), {}, 64, "ar"),
    }


def tokenizer_config(cell: Cell) -> TokenizerConfig:
    """The cell's tokenizer."""
    recipe, spec, options, size, _ = cell
    return resolve(recipe, spec, options | {"training": {"batch_size": size}})


def model_of(cell: Cell) -> Trainable:
    """The model that the cell trains, with the same weights each time."""
    torch.manual_seed(0)
    config = tokenizer_config(cell)
    return build_prior(priors.get(cell[4])(), config.spec) if cell[4] else build(config)


def batch_of(cell: Cell, device: torch.device) -> Any:
    """What it trains on, the same each time, on `device`."""
    torch.manual_seed(1)
    spec: LatentSpec = tokenizer_config(cell).spec
    if not cell[4]:
        return (signals(spec, cell[3]) * 2 - 1).to(device)
    batch = latents(spec, cell[3])
    return replace(batch, latents=_moved(batch.latents, device), labels=batch.labels.to(device))


def _moved(item: Latents, device: torch.device) -> Latents:
    parts = {name: getattr(item, name) for name in ("values", "codes", "lengths")}
    parts = {name: part if part is None else part.to(device) for name, part in parts.items()}
    return replace(item, **parts, rest=tuple(_moved(level, device) for level in item.rest))


def losses_of(cell: Cell, model: Trainable, batch: Any) -> Callable[[], Tensor]:
    """The loss of the model's own group, past every late start."""
    return lambda: model.losses(batch, group="model", step=99, steps=100)["loss"]


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table under its title."""
    lines = [f"## {title}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""])


def reason(error: BaseException) -> str:
    """A dash, and why."""
    return "– " + (" ".join(f"{type(error).__name__}: {error}".split())[:80]).replace("|", "/")


def correctness(args: argparse.Namespace) -> str:
    """Encoding and decoding on the device against the CPU, and the gradient where no random number decides it."""
    rows = []
    for name, cell in cells(args).items():
        if cell[4]:
            continue
        try:
            results = [_results(cell, torch.device(device)) for device in ("cpu", args.device)]
        except Exception as error:
            rows.append((name, reason(error), ""))
            continue
        rows.append((name, *(_difference(*pair) for pair in zip(*results, strict=True))))
    return markdown(f"Correctness: {args.device} against the CPU", ("cell", "decoded", "gradient"), rows)


def _results(cell: Cell, device: torch.device) -> tuple[Tensor, Tensor | None]:
    model: Any = model_of(cell).to(device)
    batch = batch_of(cell, device)
    with torch.no_grad():
        decoded = model.eval().decode(model.encode(batch)).cpu()
    if cell[0] not in ("ae", "fsq", "vq-vae"):  # others draw, and a GPU draws other numbers
        return decoded, None
    losses_of(cell, model.train(), batch)().backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return decoded, torch.cat(gradients).cpu()


def _difference(mine: Tensor | None, other: Tensor | None) -> str:
    """The largest difference over the largest value."""
    if mine is None or other is None:
        return "– it draws"
    return f"{float((mine - other).abs().max() / mine.abs().max().clamp_min(1e-12)):.1e}"


def child(kind: str, name: str, args: argparse.Namespace, **environment: str) -> subprocess.Popen[str]:
    """This script in a process of its own, for one cell."""
    command = [sys.executable, "-P", __file__, "--device", args.device, "--child", kind, "--cell", name]
    command += ["--seconds", str(args.seconds), *(["--quick"] if args.quick else [])]
    for option in ("recipes", "priors"):
        if asked := getattr(args, option):
            command += [f"--{option}", *asked]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def answer(process: subprocess.Popen[str]) -> str:
    """Its last line, or a dash and its last words."""
    out, err = process.communicate()
    if process.returncode == 0:
        return out.splitlines()[-1]
    return "– " + ((err.splitlines() or ["no word"])[-1][:80]).replace("|", "/")


def determinism(args: argparse.Namespace) -> str:
    """Whether two trainings in two processes end in the same bits."""
    rows = []
    names, modes = list(cells(args)), MODES
    if args.quick:
        names, modes = names[:1], ("auto",)
    for name in names:
        row: list[str] = [name]
        for mode in modes:
            hashes = [answer(child("hash", name, args, LATENTBENCH_DETERMINISTIC=mode)) for _ in range(2)]
            failed = next((text for text in hashes if text.startswith("–")), None)
            row.append(failed or ("same bits" if hashes[0] == hashes[1] else "differ"))
        rows.append(row)
    return markdown("Determinism: two trainings under LATENTBENCH_DETERMINISTIC", ("cell", *modes), rows)


def hash_of_training(cell: Cell, device: torch.device, steps: int) -> str:
    """A hash of the weights after some steps."""
    model = model_of(cell).to(device)
    step = train_step(model, losses_of(cell, model, batch_of(cell, device)))
    torch.manual_seed(2)
    for _ in range(steps):
        step()
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def peaks(args: argparse.Namespace) -> str:
    """The most memory of a step against its footprint."""
    table, rows = Footprints(None), []
    subjects = {name: _subject(cell) for name, cell in cells(args).items()}
    list(table.measure(subjects.values()))
    for name, subject in subjects.items():
        footprint = table.get(subject)
        predicted = f"{footprint.peak / 1e6:.0f}" if footprint is not None else "– not measured"
        measured, ratio = "– on a GPU alone", ""
        if args.device != "cpu":
            try:
                peak = _peak(cells(args)[name], torch.device(args.device))
                measured, ratio = f"{peak / 1e6:.0f}", f"{peak / footprint.peak:.2f}" if footprint else ""
            except Exception as error:
                measured = reason(error)
        rows.append((name, predicted, measured, ratio))
    return markdown("Memory: peak of a step, MB", ("cell", "predicted", "measured", "ratio"), rows)


def _subject(cell: Cell) -> Subject:
    tokenizer = tokenizer_config(cell).to_json() | {}
    tokenizer["training"]["precision"] = "float32"
    if not cell[4]:
        return Subject(kind="tokenizer", config={}, tokenizer=tokenizer, versions={})
    options = {"training": {"batch_size": cell[3], "precision": "float32"}}
    return Subject(kind="prior", config={"prior": cell[4], "options": options}, tokenizer=tokenizer, versions={})


def _peak(cell: Cell, device: torch.device) -> int:
    """Of the third step; as in a training there is an average of the weights."""
    torch.cuda.empty_cache()
    model = model_of(cell).to(device)
    average = [p.detach().clone() for p in model.parameters()]
    step = train_step(model, losses_of(cell, model, batch_of(cell, device)))
    for _ in range(2):
        step()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    assert average
    return torch.cuda.max_memory_allocated(device)


def speed(args: argparse.Namespace) -> str:
    """Steps per second, one way after another."""
    device, rows = torch.device(args.device), []
    ways = WAYS if device.type == "cuda" else {"float32": eager}
    for name, cell in cells(args).items():
        row = [name]
        for make in ways.values():
            try:
                row.append(f"{rate(make(cell, device), device, args.seconds):.1f}")
            except Exception as error:
                row.append(reason(error))
        rows.append(row)
    return markdown("Speed: steps per second", ("cell", *ways), rows)


def rate(step: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Steps per second after three that don't count."""
    wait = (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)
    for _ in range(3):
        step()
    wait()
    started, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - started < seconds:
        step()
        count += 1
        if count % 10 == 0:
            wait()
    wait()
    return count / (time.perf_counter() - started)


def eager(cell: Cell, device: torch.device, *, bfloat16: bool = False, contiguous: bool = False) -> Callable[[], Any]:
    """A step as the training loop does it."""
    model = model_of(cell).to(device)
    if contiguous:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    loss = losses_of(cell, model, batch_of(cell, device))

    def under_autocast() -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return loss()

    return train_step(model, under_autocast if bfloat16 else loss)


def compiled(cell: Cell, device: torch.device) -> Callable[[], Any]:
    """Encoder and decoder compiled; a prior as a whole has no such parts."""
    model = model_of(cell).to(device)
    parts = [part for name, part in model.named_children() if name in ("encoder", "decoder", "net")]
    if not parts:
        raise ValueError("nothing to compile by itself")
    for part in parts:
        part.compile()
    return train_step(model, losses_of(cell, model, batch_of(cell, device)))


def graphed(cell: Cell, device: torch.device) -> Callable[[], Any]:
    """A whole step as one CUDA graph, on a batch that stays."""
    model = model_of(cell).to(device).train()
    loss = losses_of(cell, model, batch_of(cell, device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


WAYS: dict[str, Callable[[Cell, torch.device], Callable[[], Any]]] = {
    "float32": eager,
    "bfloat16": lambda cell, device: eager(cell, device, bfloat16=True),
    "contiguous weights": lambda cell, device: eager(cell, device, contiguous=True),
    "compiled": compiled,
    "CUDA graph": graphed,
}


def sharing(args: argparse.Namespace) -> str:
    """Steps per second of all jobs together, of the smallest cell."""
    name, rows = next(iter(cells(args))), []
    for count in (2,) if args.quick else (1, 2, 4):
        row: list[Any] = [count]
        for with_mps in (False, True):
            if with_mps and (args.device == "cpu" or shutil.which("nvidia-cuda-mps-control") is None):
                row.append("– no MPS here")
                continue
            with mps() if with_mps else nullcontext({}) as environment:
                jobs = [child("rate", name, args, **environment) for _ in range(count)]
                answers = [answer(job) for job in jobs]
            failed = next((text for text in answers if text.startswith("–")), None)
            row.append(failed or f"{sum(map(float, answers)):.1f}")
        rows.append(row)
    return markdown(f"Sharing: steps per second of all jobs ({name})", ("jobs", "without MPS", "with MPS"), rows)


@contextmanager
def mps() -> Iterator[dict[str, str]]:
    """A daemon of our own, which needs no rights; what its clients need in their environment."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        environment = {**os.environ, **places}
        subprocess.run(["nvidia-cuda-mps-control", "-d"], env=environment, check=True)
        try:
            yield places
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], env=environment, input="quit\n", text=True, check=False)


TABLES: dict[str, Callable[[argparse.Namespace], str]] = {
    "correctness": correctness,
    "determinism": determinism,
    "peaks": peaks,
    "speed": speed,
    "sharing": sharing,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny models, and few")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of speed")
    parser.add_argument("--recipes", nargs="+", default=[], metavar="NAME", help="in place of the ten cells; or all")
    parser.add_argument("--priors", nargs="+", default=[], metavar="NAME", help="the same")
    parser.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=list(TABLES), help="those alone")
    parser.add_argument("--out", type=Path, help="a file for the tables")
    parser.add_argument("--child", choices=("hash", "rate"), help=argparse.SUPPRESS)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: there is nothing to measure (--device cpu goes through the same code)", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        args.device = str(device)
        cuda_state.set_up(device, 1.0)
    if args.child:
        cell = cells(args)[args.cell]
        result: Any = hash_of_training(cell, device, 3 if args.quick else 20) if args.child == "hash" else None
        print(rate(eager(cell, device), device, args.seconds) if result is None else result)
        return 0
    sections = [f"# {args.device}", f"## Doctor\n\n```text\n{examine()}\n```\n"]
    print("\n".join(sections), flush=True)
    for name in args.tables:
        section = TABLES[name]
        sections.append(section(args))
        print(sections[-1], flush=True)
        if args.out is not None:  # after each, so that a fault of the last leaves the others
            args.out.write_text("\n".join(sections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
