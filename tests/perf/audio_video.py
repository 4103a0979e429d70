"""Training steps of `dac` and `causal-video-vae` against the peers' models, of like size.

    python tests/perf/audio_video.py [--parts dac clips] [--rounds 5] [--threads 1] [--batch 2]

`dac`: generator and discriminators, a step of each, with mel, feature, adversarial, codebook and commitment losses on
the same sounds, the peer's widths and strides; ours in the training loop that a run has, the peer
(descript-audio-codec) in the order of its own train.py, with our mel loss, since its own needs its data pipeline.
`clips`: forward, L1 + KL, backward, clipping and AdamW on clips of 9 x 64 x 64, against diffusers' AutoencoderKLWan and
AutoencoderKLCogVideoX; ours once with like parameters and once, wider, with like operations. Interleaved rounds,
medians of the process's own seconds. A peer that is not installed loses its row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from latentbench.bench.training import _Loop
from latentbench.tokenizers.build import build
from latentbench.tokenizers.losses.mel_scales_config import MelScalesConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.training import TrainingConfig

sys.path.append(str(Path(__file__).parent))  # with -P a script's folder is not on the path
from timing import interleaved, parameters, train_step

RATE, SAMPLES, FRAMES, SIDE = 16000, 8192, 9, 64
Step = tuple[nn.Module, Callable[[], Any]]


class Fixed:
    """The same batch every time."""

    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return self.data


def our_dac(data: Tensor) -> Step:
    """The recipe with the peer's widths, levels and discriminators, all of them at work from the first step."""
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(SAMPLES,), rate=RATE)
    options = {
        "downsample": 64, "channels": 128, "backbone": {"width": 16},
        "bottleneck": {"codebook_size": 256, "levels": 4},
        "auxiliary": {"adversary": {"width": 32, "start": 0.0}},
    }  # fmt: skip
    model = build(resolve("dac", signal, options))
    with torch.no_grad():
        model.on_train_start([data])
    config = TrainingConfig(steps=1000, batch_size=len(data), warmup=0.0)
    loop = _Loop(model.train(), Fixed(data), config, seed=0, device=torch.device("cpu"))
    loop.state.steps, loop.state.step = 1000, 10
    return model, loop.step


def peer_dac(data: Tensor) -> Step:
    """descript-audio-codec's model and discriminator."""
    from dac.model import DAC
    from dac.model.discriminator import Discriminator

    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(SAMPLES,), rate=RATE)
    mel = MelScalesConfig().build(signal)
    generator = DAC(
        encoder_dim=16, encoder_rates=[2, 4, 8], latent_dim=128, decoder_dim=128, decoder_rates=[8, 4, 2],
        n_codebooks=4, codebook_size=256, codebook_dim=8, sample_rate=RATE,
    )  # fmt: skip
    judge = Discriminator(sample_rate=RATE)
    optimizers = [
        torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.8, 0.99), fused=True) for net in (generator, judge)
    ]

    def step() -> None:
        out = generator(data, RATE)
        made = out["audio"]
        fake, real = judge(made.detach()), judge(data)
        loss = sum(f[-1].square().mean() + (1 - r[-1]).square().mean() for f, r in zip(fake, real, strict=True))
        optimizers[1].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 10.0)
        optimizers[1].step()
        fake, real = judge(made), judge(data)
        adversarial = sum((1 - f[-1]).square().mean() for f in fake)
        features = sum(
            F.l1_loss(a, b.detach())
            for f, r in zip(fake, real, strict=True)
            for a, b in zip(f[:-1], r[:-1], strict=True)
        )
        loss = 15 * 7 * mel(made, data).mean() + adversarial + 2 * features
        loss = loss + 0.25 * out["vq/commitment_loss"] + out["vq/codebook_loss"]
        optimizers[0].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 1e3)
        optimizers[0].step()

    return nn.ModuleList([generator, judge]), step


def our_clips(clips: Tensor, width: int) -> tuple[nn.Module, Callable[[], Tensor]]:
    signal = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(FRAMES, SIDE, SIDE), rate=8.0)
    options = {"width": width, "channels": 8, "downsample": [4, 8, 8]}
    model = build(resolve("causal-video-vae", signal, options))
    return model, lambda: model.losses(clips, group="model", step=0, steps=1)["loss"]


def vae_loss(model: nn.Module, clips: Tensor) -> Callable[[], Tensor]:
    def loss() -> Tensor:
        posterior = model.encode(clips).latent_dist
        decoded = model.decode(posterior.sample()).sample
        return F.l1_loss(decoded, clips) + 1e-6 / clips[0].numel() * posterior.kl().mean()

    return loss


def wan(clips: Tensor) -> tuple[nn.Module, Callable[[], Tensor]]:
    from diffusers import AutoencoderKLWan

    model = AutoencoderKLWan(
        base_dim=16, z_dim=8, dim_mult=[1, 2, 2, 2], num_res_blocks=1, attn_scales=[],
        temperal_downsample=[False, True, True],
    )  # fmt: skip
    return model, vae_loss(model, clips)


def cogvideox(clips: Tensor) -> tuple[nn.Module, Callable[[], Tensor]]:
    from diffusers import AutoencoderKLCogVideoX

    model = AutoencoderKLCogVideoX(
        block_out_channels=(16, 32, 32, 32), latent_channels=8, layers_per_block=1, norm_num_groups=8,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        temporal_compression_ratio=4, sample_height=SIDE, sample_width=SIDE,
    )  # fmt: skip
    return model, vae_loss(model, clips)


def report(title: str, rows: dict[str, Step], rounds: int, count: int, first: str) -> None:
    """Times of all steps, and their floating-point operations."""
    medians, _ = interleaved({name: step for name, (_, step) in rows.items()}, rounds, cpu_seconds=True)
    print(title)
    for name, median in medians.items():
        with FlopCounterMode(display=False) as counter:
            rows[name][1]()
        print(
            f"  {name:<28}{parameters(rows[name][0]) / 1e6:7.2f} M {median * 1e3:9.0f} ms"
            f" {counter.get_total_flops() / 1e9:9.1f} GFLOP {counter.get_total_flops() / median / 1e9:7.1f} GFLOP/s"
            f" {median / medians[first]:6.2f} x the time of ours"
        )
    print(f"  {count} samples a step")


def gathered(makers: dict[str, Callable[[], Step]]) -> dict[str, Step]:
    """The rows whose packages are installed."""
    rows = {}
    for name, make in makers.items():
        try:
            rows[name] = make()
        except ImportError as error:
            print(f"{name}: left out, {error}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["dac", "clips"], choices=["dac", "clips"])
    for name, default in (("batch", 2), ("rounds", 5), ("threads", 1), ("width", 16), ("wide", 48)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if "dac" in args.parts:
        data = torch.randn(args.batch, 1, SAMPLES).mul(0.1)
        rows = gathered({"ours, dac": lambda: our_dac(data), "descript-audio-codec": lambda: peer_dac(data)})
        report(
            f"{SAMPLES} samples at {RATE} Hz, generator and discriminators", rows, args.rounds, args.batch, "ours, dac"
        )
    if "clips" in args.parts:
        clips = torch.rand(args.batch, 3, FRAMES, SIDE, SIDE) * 2 - 1
        models = gathered({
            "ours, causal-video-vae": lambda: our_clips(clips, args.width),
            "ours, wider": lambda: our_clips(clips, args.wide),
            "diffusers, Wan": lambda: wan(clips),
            "diffusers, CogVideoX": lambda: cogvideox(clips),
        })  # fmt: skip
        rows = {name: (model, train_step(model, loss)) for name, (model, loss) in models.items()}
        report(f"clips of {FRAMES} x {SIDE} x {SIDE}", rows, args.rounds, args.batch, "ours, causal-video-vae")


if __name__ == "__main__":
    main()
