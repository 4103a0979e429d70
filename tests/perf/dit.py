"""The flow prior's training step against diffusers' DiTTransformer2DModel, about 2 M parameters, 64 tokens.

    python tests/perf/dit.py [--batch 128] [--width 160] [--layers 5] [--size 8] [--rounds 5] [--device cpu]

Same latents, batch, width, depth and optimiser, interleaved rounds, medians. Without diffusers its row is left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tasks.priors.flow import interpolate
from latentbench.tokenizers.backbones.time import logit_normal_times
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved, parameters, train_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("batch", 128), ("width", 160), ("layers", 5), ("size", 8), ("channels", 4), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    heads = args.width // 32
    shape = (args.size, args.size)
    values = torch.randn(args.batch, args.channels, *shape, device=device)

    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(args.size * 8, args.size * 8))
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=shape, channels=args.channels),))
    options = {"width": args.width, "layers": args.layers, "attention_heads": heads, "patch": [1, 1]}
    ours = build_prior(resolve_prior("flow", options, spec, where="bench"), spec).to(device)
    batch = LatentBatch(latents=Latents(values=values))
    models: dict[str, nn.Module] = {"ours": ours}
    losses = {"ours": lambda: ours.losses(batch, group="model", step=0, steps=1)["loss"]}

    try:
        from diffusers import DiTTransformer2DModel
    except ImportError:
        print("diffusers is not installed: its row is left out")
    else:
        peer = DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=32,
            in_channels=args.channels,
            out_channels=args.channels,
            num_layers=args.layers,
            sample_size=args.size,
            patch_size=1,
            num_embeds_ada_norm=1000,
        ).to(device)
        labels = torch.zeros(args.batch, dtype=torch.long, device=device)

        def peer_loss() -> Tensor:
            t = logit_normal_times(args.batch, 0.0, 1.0, device)
            x, target = interpolate(values, torch.randn_like(values), t)
            return F.mse_loss(peer(x, timestep=t * 1000, class_labels=labels).sample, target)

        models["diffusers DiT"] = peer
        losses["diffusers DiT"] = peer_loss

    print(f"batch {args.batch}, {args.size}x{args.size} tokens, {device}, {torch.get_num_threads()} threads")
    steps = {name: train_step(models[name], loss) for name, loss in losses.items()}
    medians, _ = interleaved(steps, args.rounds, device=device)
    for name, value in medians.items():
        million = parameters(models[name]) / 1e6
        rate = args.batch / value
        print(
            f"  {name:<16}{million:6.2f} M {value * 1e3:9.1f} ms {rate:9.1f} samples/s {value / medians['ours']:6.2f} x"
        )


if __name__ == "__main__":
    main()
