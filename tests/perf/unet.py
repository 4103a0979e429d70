"""The diffusion prior's U-Net training step against diffusers' UNet2DModel of equal size, about 4 M parameters.

    python tests/perf/unet.py [--batch 32] [--width 48] [--size 16] [--channels 4] [--rounds 5] [--device cpu]

Same latents, batch, objective (v-prediction, cosine schedule), optimiser, levels and blocks per level; the peer's width
is the one that brings its parameters nearest ours, since its blocks differ. Interleaved rounds, medians, and beside
them the share of a step's FLOPs: where the peer spends more or fewer of them on equal parameters, both are to be read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentbench.bench import flops
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors import schedule
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved, parameters, train_step

MULTIPLIERS = (1, 2, 3)
BLOCKS = 2
GROUPS = 8


def peer_of(size_of_ours: int, *, size: int, channels: int) -> nn.Module:
    """diffusers' U-Net, attention at its coarsest level, of the width whose parameters come nearest `size_of_ours`."""
    from diffusers import UNet2DModel

    def build(width: int) -> nn.Module:
        return UNet2DModel(
            sample_size=size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(width * factor for factor in MULTIPLIERS),
            layers_per_block=BLOCKS,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            norm_num_groups=GROUPS,
            attention_head_dim=None,
        )

    return min((build(width) for width in range(GROUPS, 128, GROUPS)), key=lambda m: abs(parameters(m) - size_of_ours))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("batch", 32), ("width", 48), ("size", 16), ("channels", 4), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    shape = (args.size, args.size)
    values = torch.randn(args.batch, args.channels, *shape, device=device)

    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(args.size * 8, args.size * 8))
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=shape, channels=args.channels),))
    options = {
        "width": args.width,
        "multipliers": list(MULTIPLIERS),
        "blocks": BLOCKS,
        "groups": GROUPS,
        "attention_heads": 4,
    }
    ours = build_prior(resolve_prior("unet", options, spec, where="bench"), spec).to(device)
    batch = LatentBatch(latents=Latents(values=values))
    models: dict[str, nn.Module] = {"ours": ours}
    losses = {"ours": lambda: ours.losses(batch, group="model", step=0, steps=1)["loss"]}

    try:
        peer = peer_of(parameters(ours), size=args.size, channels=args.channels).to(device)
    except ImportError:
        print("diffusers is not installed: its row is left out")
    else:

        def peer_loss() -> Tensor:
            t = torch.rand(args.batch, device=device)
            noise = torch.randn_like(values)
            goal = schedule.target(values, noise, t, "v")
            return F.mse_loss(peer(schedule.noised(values, noise, t), t * 1000).sample, goal)

        models["diffusers UNet2D"] = peer
        losses["diffusers UNet2D"] = peer_loss

    print(f"batch {args.batch}, {args.size}x{args.size} positions, {device}, {torch.get_num_threads()} threads")
    work = {}
    for name, loss in losses.items():
        with flops.counter() as counter:
            loss().backward()
        work[name] = counter.get_total_flops()
    steps = {name: train_step(models[name], loss) for name, loss in losses.items()}
    medians, _ = interleaved(steps, args.rounds, device=device)
    for name, value in medians.items():
        print(
            f"  {name:<18}{parameters(models[name]) / 1e6:6.2f} M {work[name] / 1e9:8.1f} GFLOP {value * 1e3:9.1f} ms "
            f"{args.batch / value:9.1f} samples/s {value / medians['ours']:6.2f} x"
        )


if __name__ == "__main__":
    main()
