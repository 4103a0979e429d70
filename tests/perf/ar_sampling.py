"""Autoregressive prior against transformers' GPT-2 and x-transformers: training and sampling, about 3 M parameters.

    python tests/perf/ar_sampling.py [--batch 64] [--tokens 64] [--codebook 1024] [--rounds 5] [--device cpu]

Same tokens, batch and parameter count (within a few per cent), interleaved rounds, medians. A peer that is not
installed loses its row.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

Runner = Callable[[], object]


def interleaved(runners: dict[str, Runner], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each runner, one of each per round after a round that doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(rounds + 1):
        for name, run in runners.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def table(title: str, seconds: dict[str, float], tokens: int) -> None:
    """Print tokens per second and each row's time against ours."""
    ours = seconds["ours"]
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<28}{value * 1e3:10.1f} ms {tokens / value:10.0f} tok/s   {value / ours:6.2f} x ours")


def step(model: nn.Module, loss: Callable[[], Tensor]) -> Runner:
    """A training step: forward, backward, clipping, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("batch", 64), ("tokens", 64), ("codebook", 1024), ("rounds", 5), ("width", 192)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--positions", default="learned")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    batch, n, k, width, layers = args.batch, args.tokens, args.codebook, args.width, args.layers
    heads = width // 32
    codes = torch.randint(k, (batch, n), device=device)

    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(n * 100,), rate=8000)
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=(n,), channels=8, codebook_sizes=(k,)),))
    options = {"width": width, "layers": layers, "attention_heads": heads, "positions": args.positions}
    ours = build_prior(resolve_prior("ar", options, spec, where="bench"), spec).to(device)
    latents = LatentBatch(latents=Latents(codes=codes[:, None]))
    models: dict[str, nn.Module] = {"ours": ours}
    losses = {"ours": lambda: ours.losses(latents, player="model", step=0, steps=1)["loss"]}
    samplers: dict[str, Runner] = {
        "ours": lambda: ours.sample(batch, seed=0, batch_size=batch),
        "ours, no cache": lambda: ours.sample_at(range(batch), seed=0, cached=False),
    }
    start = torch.full((batch, 1), k, device=device)
    padded = torch.cat((start, codes[:, :-1]), dim=1)

    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        print("transformers is not installed: its rows are left out")
    else:
        settings = {"n_positions": n + 1, "n_embd": width, "n_layer": layers, "n_head": heads}
        quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": k, "eos_token_id": None}
        gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=k + 1, tie_word_embeddings=False, **settings, **quiet)).to(device)
        models["transformers GPT-2"] = gpt2
        losses["transformers GPT-2"] = lambda: F.cross_entropy(gpt2(padded).logits.flatten(0, 1), codes.flatten())

        def generate(cache: bool) -> Runner:
            common = {"do_sample": True, "top_k": 0, "pad_token_id": k, "attention_mask": torch.ones_like(start)}
            return lambda: gpt2.generate(start, max_new_tokens=n, min_new_tokens=n, use_cache=cache, **common)

        samplers["transformers GPT-2"] = generate(True)
        samplers["transformers GPT-2, no cache"] = generate(False)

    try:
        from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper
    except ImportError:
        print("x-transformers is not installed: its rows are left out")
    else:
        decoder = Decoder(dim=width, depth=layers, heads=heads, attn_dim_head=32, attn_flash=True)
        peer = TransformerWrapper(num_tokens=k + 1, max_seq_len=n + 1, attn_layers=decoder).to(device)
        models["x-transformers"] = peer
        losses["x-transformers"] = lambda: F.cross_entropy(peer(padded).flatten(0, 1), codes.flatten())
        wrapped = AutoregressiveWrapper(peer)
        samplers["x-transformers"] = lambda: wrapped.generate(start, n, filter_logits_fn=lambda logits: logits)

    print(f"batch {batch} x {n} tokens, {k} codes, {device}, {torch.get_num_threads()} threads")
    for name, model in models.items():
        print(f"  {name:<28}{sum(p.numel() for p in model.parameters()) / 1e6:8.2f} M parameters")
    steps = {name: step(models[name].train(), loss) for name, loss in losses.items()}
    table("training step", interleaved(steps, args.rounds, device), batch * n)
    for model in models.values():
        model.eval()
    table("sampling", interleaved(samplers, args.rounds, device), batch * n)


if __name__ == "__main__":
    main()
