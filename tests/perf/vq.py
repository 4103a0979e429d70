"""Vector quantisation against vector-quantize-pytorch: forward and backward, time and peak memory.

    python tests/perf/vq.py [--tokens 16384] [--dim 64] [--codes 8192] [--heads 1] [--rounds 3] [--threads 1]

The same codebook, features, losses (commitment 0.25) and codebook rule (moving averages), interleaved rounds, medians
(on a CPU of the process's own seconds, which a busy machine disturbs least). Memory is the growth of the resident set
in a process of its own (on a GPU the allocator's peak, `--device cuda`). Without the peer its row is left out.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from latentbench.tokenizers.bottlenecks.vq import VQ
from latentbench.tokenizers.bottlenecks.vq_config import MultiHeadVQConfig
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved

PEER = "vector-quantize-pytorch"


def runner(name: str, args: argparse.Namespace) -> Callable[[], None]:
    """One forward and backward pass with the codebook's update."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    batch, side = 16, args.tokens // 16
    x = torch.randn(batch, args.dim, side, device=device).requires_grad_()
    codebook = torch.randn(args.heads, args.codes, args.dim // args.heads, device=device)
    if name == "ours":
        config = MultiHeadVQConfig(codebook_size=args.codes, heads=args.heads, rule="ema", reset_after=0.0)
        signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(side,))
        spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=(side,), channels=args.dim),))
        ours = VQ(config, spec, features=args.dim).to(device)
        ours.codebook.data.copy_(codebook)

        def run() -> None:
            x.grad = None
            quantised = ours(x)
            (quantised.values.sum() + quantised.losses["commitment"]).backward()
            ours.after_step(step=0, steps=1)

        return run
    from vector_quantize_pytorch import VectorQuantize

    theirs = VectorQuantize(
        dim=args.dim,
        codebook_size=args.codes,
        heads=args.heads,
        codebook_dim=args.dim // args.heads,
        separate_codebook_per_head=True,
        commitment_weight=0.25,
        rotation_trick=False,
    ).to(device)
    theirs._codebook.embed.data.copy_(codebook)

    def run_theirs() -> None:
        x.grad = None
        values, _, loss = theirs(x.movedim(1, -1))
        (values.sum() + loss.sum()).backward()

    return run_theirs


def peak_memory(name: str, args: argparse.Namespace, results: multiprocessing.SimpleQueue[float]) -> None:
    """MiB that one run adds to the resident set, or takes of the GPU."""
    run = runner(name, args)
    gc.collect()
    if args.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        results.put((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    before = high_water()
    run()
    results.put(max(high_water() - before, 1.0))


def high_water() -> float:
    """MiB of the resident set's peak; from /proc, since a child inherits its parent's `ru_maxrss`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("tokens", 16384), ("dim", 64), ("codes", 8192), ("heads", 1), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names = ["ours"]
    if find_spec("vector_quantize_pytorch"):
        names.append(PEER)
    else:
        print(f"{PEER} is not installed: its row is left out")
    runners = {name: runner(name, args) for name in names}
    seconds, _ = interleaved(runners, args.rounds, device=args.device, cpu_seconds=True)
    context = multiprocessing.get_context("spawn")
    print(f"{args.tokens} tokens x {args.dim}, K = {args.codes}, {args.heads} heads, {args.device}")
    ours = 0.0
    for name in names:
        results = context.SimpleQueue()
        process = context.Process(target=peak_memory, args=(name, args, results))
        process.start()
        process.join()
        memory = results.get()
        ours = ours or memory
        print(
            f"  {name:<26}{seconds[name] * 1e3:10.1f} ms {memory:10.0f} MiB"
            f"   {seconds[name] / seconds['ours']:6.2f} x the time, {memory / ours:6.2f} x the memory of ours"
        )


if __name__ == "__main__":
    main()
