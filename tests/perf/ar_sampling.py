"""Autoregressive prior against transformers' GPT-2 and x-transformers: training and sampling, about 3 M parameters.

    python tests/perf/ar_sampling.py [--batch 64] [--tokens 64] [--codebook 1024] [--rounds 5] [--device cpu]

Same tokens, batch and parameter count (within a few per cent), interleaved rounds, medians. A peer that is not
installed loses its row. At the end, what our cache gains over recomputing the prefix at every step, at 256 tokens.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved, parameters, train_step

Runner = Callable[[], object]


def table(title: str, seconds: dict[str, float], tokens: int) -> None:
    """Print tokens per second and each row's time against ours."""
    ours = seconds["ours"]
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<28}{value * 1e3:10.1f} ms {tokens / value:10.0f} tok/s   {value / ours:6.2f} x ours")


def prior(options: dict[str, Any], codebook: int, tokens: int) -> Prior:
    """Our prior of `tokens` codes."""
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(tokens * 100,), rate=8000)
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=(tokens,), channels=8, codebook_sizes=(codebook,)),))
    return build_prior(resolve_prior("ar", options, spec, where="bench"), spec)


def cache_gain(
    options: dict[str, Any], codebook: int, tokens: int, batch: int, rounds: int, device: torch.device
) -> None:
    """Print the time of sampling with and without the cache, and whether the samples are the same."""
    ours = prior(options, codebook, tokens).to(device).eval()
    drawn: dict[str, Tensor | None] = {}

    def run(name: str, cached: bool) -> Runner:
        def sample() -> None:
            drawn[name] = ours.sample_at(range(batch), seed=0, cached=cached).codes  # type: ignore[call-arg]

        return sample

    samplers = {"ours": run("cached", True), "ours, no cache": run("uncached", False)}
    table(f"sampling {batch} x {tokens} tokens", interleaved(samplers, rounds, device=device)[0], batch * tokens)
    first, second = drawn["cached"], drawn["uncached"]
    assert first is not None
    assert second is not None
    print(f"  the same codes: {float((first == second).float().mean()):.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("batch", 64), ("tokens", 64), ("codebook", 1024), ("rounds", 5), ("width", 192)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cache-tokens", type=int, default=256)
    parser.add_argument("--cache-batch", type=int, default=16)
    parser.add_argument("--only-cache", action="store_true", help="the cached against the uncached sampler alone")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--positions", default="learned")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    batch, n, k, width, layers = args.batch, args.tokens, args.codebook, args.width, args.layers
    heads = width // 32
    options = {"width": width, "layers": layers, "attention_heads": heads, "positions": args.positions}
    if args.only_cache:
        cache_gain(options, k, args.cache_tokens, args.cache_batch, args.rounds, device)
        return
    codes = torch.randint(k, (batch, n), device=device)

    ours = prior(options, k, n).to(device)
    latents = LatentBatch(latents=Latents(codes=codes[:, None]))
    models: dict[str, nn.Module] = {"ours": ours}
    losses = {"ours": lambda: ours.losses(latents, group="model", step=0, steps=1)["loss"]}
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
        print(f"  {name:<28}{parameters(model) / 1e6:8.2f} M parameters")
    steps = {name: train_step(models[name], loss) for name, loss in losses.items()}
    table("training step", interleaved(steps, args.rounds, device=device)[0], batch * n)
    for model in models.values():
        model.eval()
    table("sampling", interleaved(samplers, args.rounds, device=device)[0], batch * n)
    cache_gain(options, k, args.cache_tokens, args.cache_batch, max(1, args.rounds // 2), device)


if __name__ == "__main__":
    main()
