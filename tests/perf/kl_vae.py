"""The KL-VAE training step against diffusers' AutoencoderKL at 32 px, of like parameter count.

    python tests/perf/kl_vae.py [--batch 32] [--size 32] [--width 48] [--rounds 5] [--threads 1] [--device cpu]

Forward, L1 + KL, backward, clipping and AdamW on the same images, interleaved rounds, medians (on a
CPU of the process's own seconds, which a busy machine disturbs least). Two rows of ours: the recipe's strided stem
(nothing runs at full resolution), and a stem without stride, which is the peer's work. The peer runs as it comes and
with channels last. Without diffusers its rows are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved, parameters, train_step


def ours(stem: int, args: argparse.Namespace, images: Tensor) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Our recipe at the bench's width."""
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(args.size, args.size))
    options = {"width": args.width, "backbone": {"stem": stem, "multipliers": [1, 2]}}
    if stem == 1:
        options["backbone"]["multipliers"] = [1, 1, 2]
    model = build(resolve("kl-vae", signal, options)).to(images.device)
    return model, lambda: model.losses(images, group="model", step=0, steps=1)["loss"]


def peer(args: argparse.Namespace, images: Tensor, last: bool) -> tuple[nn.Module, Callable[[], Tensor]]:
    """AutoencoderKL with three resolutions, one block each (its decoder has one more), no attention."""
    from diffusers import AutoencoderKL

    width = args.peer_width
    model = AutoencoderKL(
        block_out_channels=(width, width, 2 * width),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
    ).to(images.device)
    if last:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)

    def loss() -> Tensor:
        posterior = model.encode(images).latent_dist
        decoded = model.decode(posterior.sample()).sample
        return F.l1_loss(decoded, images) + 1e-6 / images[0].numel() * posterior.kl().mean()

    return model, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("batch", 32), ("size", 32), ("width", 48), ("peer-width", 32), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.rand(args.batch, 3, args.size, args.size, device=args.device) * 2 - 1
    rows = {"ours, strided stem": ours(2, args, images), "ours, full resolution": ours(1, args, images)}
    try:
        rows["diffusers"] = peer(args, images, last=False)
        rows["diffusers, channels last"] = peer(args, images, last=True)
    except ImportError:
        print("diffusers is not installed: its rows are left out")
    steps = {name: train_step(*row) for name, row in rows.items()}
    medians, _ = interleaved(steps, args.rounds, device=args.device, cpu_seconds=True)
    first = medians["ours, strided stem"]
    print(f"batch {args.batch} at {args.size} px, {args.device}")
    for name, (model, loss) in rows.items():
        with FlopCounterMode(display=False) as counter:
            loss().backward()
        median = medians[name]
        print(
            f"  {name:<26}{parameters(model) / 1e6:6.2f} M {median * 1e3:9.1f} ms {args.batch / median:9.1f} img/s"
            f" {counter.get_total_flops() / median / 1e9:8.1f} GFLOP/s {median / first:6.2f} x the time of ours"
        )


if __name__ == "__main__":
    main()
