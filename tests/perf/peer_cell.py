"""One cell of `sweep_vs_scripts.py` as a script of its own, made of what people use; nothing here is latentbench's.

    python -P tests/perf/peer_cell.py --tokenizer kl --channels 4 --images images.npz --net net.pt [--steps 100]

diffusers' AutoencoderKL or VQModel in a plain loop over a DataLoader; a prior on its latents, diffusers'
DiTTransformer2DModel with flow matching for values and transformers' GPT-2 for codes; PSNR and SSIM by torchmetrics,
rFID and gFID by torch-fidelity on features of the module in `--net`. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler, VQModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel

# Of like FLOPs or of like parameters as the recipes at 32 pixels; which compute nothing at full resolution.
WIDTHS = {"flops": (8, 16, 32), "parameters": (16, 32, 64)}
BEGIN = 256  # the token before the first code


def tokenizer_model(kind: str, channels: int, size: str) -> nn.Module:
    """Three resolutions, a block each (the decoder has one more), no attention: 8 x 8 positions of 32 pixels."""
    widths = WIDTHS[size]
    options: dict[str, Any] = {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": channels,
        "norm_num_groups": 4,
        "mid_block_add_attention": False,
        "layers_per_block": 1,
    }
    if kind == "vq":
        return VQModel(num_vq_embeddings=BEGIN, vq_embed_dim=channels, **options)
    return AutoencoderKL(**options)


def tokenizer_loss(kind: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The loss of a batch of images."""

    def vq(images: Tensor) -> Tensor:
        quantised, commitment, _ = model.quantize(model.encode(images).latents)
        decoded = model.decode(quantised, force_not_quantize=True).sample
        return F.l1_loss(decoded, images) + commitment

    def kl(images: Tensor) -> Tensor:
        posterior = model.encode(images).latent_dist
        decoded = model.decode(posterior.sample()).sample
        return F.l1_loss(decoded, images) + 1e-6 / images[0].numel() * posterior.kl().mean()

    def plain(images: Tensor) -> Tensor:
        return F.mse_loss(model.decode(model.encode(images).latent_dist.mode()).sample, images)

    return {"vq": vq, "kl": kl, "ae": plain}[kind]


def prior_model(kind: str, channels: int) -> nn.Module:
    """Width 128, four layers, four heads."""
    if kind == "vq":
        ends: dict[str, Any] = {"bos_token_id": BEGIN, "eos_token_id": None, "pad_token_id": BEGIN}
        size = {"vocab_size": BEGIN + 1, "n_positions": 65, "n_embd": 128, "n_layer": 4, "n_head": 4}
        return GPT2LMHeadModel(GPT2Config(**size, **ends))
    return DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=32,
        in_channels=channels,
        out_channels=channels,
        num_layers=4,
        sample_size=8,
        patch_size=1,
        num_embeds_ada_norm=1000,
    )


def prior_loss(kind: str, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The loss of a batch of codes `[B, 64]`, or of normalised values `[B, C, 8, 8]`."""

    def next_code(codes: Tensor) -> Tensor:
        tokens = F.pad(codes, (1, 0), value=BEGIN)
        return model(tokens, labels=tokens).loss

    def flow(values: Tensor) -> Tensor:
        sigma = torch.sigmoid(torch.randn(len(values)))[:, None, None, None]
        noise = torch.randn_like(values)
        noisy = (1 - sigma) * values + sigma * noise
        classes = torch.zeros(len(values), dtype=torch.long)
        return F.mse_loss(model(noisy, timestep=1000 * sigma.flatten(), class_labels=classes).sample, noise - values)

    return next_code if kind == "vq" else flow


def train(model: nn.Module, loss: Callable[[Tensor], Tensor], data: Tensor, steps: int, lr: float) -> None:
    """A plain loop: AdamW, warm-up and cosine, clipping, an average of the weights that is kept at the end."""
    loader = DataLoader(TensorDataset(data), batch_size=32, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    average = EMAModel(model.parameters(), decay=0.999, foreach=True)
    step = 0
    while step < steps:
        for (batch,) in loader:
            optimizer.zero_grad()
            loss(batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.step(model.parameters())
            step += 1
            if step == steps:
                break
    average.copy_to(model.parameters())
    model.eval()


@torch.no_grad()
def encode(kind: str, model: nn.Module, images: Tensor) -> Tensor:
    """Codes `[N, 64]` or values `[N, C, 8, 8]` of images."""
    parts = []
    for batch in images.split(64):
        if kind == "vq":
            parts.append(model.quantize(model.encode(batch).latents)[2][2].view(len(batch), 64))
        else:
            parts.append(model.encode(batch).latent_dist.mode())
    return torch.cat(parts)


@torch.no_grad()
def decode(kind: str, model: nn.Module, latents: Tensor) -> Tensor:
    """Images of codes or values."""
    parts = []
    for batch in latents.split(64):
        if kind == "vq":
            shape = (len(batch), 8, 8, model.config.vq_embed_dim)
            values = model.quantize.get_codebook_entry(batch.flatten(), shape)
            parts.append(model.decode(values, force_not_quantize=True).sample)
        else:
            parts.append(model.decode(batch).sample)
    return torch.cat(parts).clamp(-1, 1)


@torch.no_grad()
def sample(kind: str, model: nn.Module, n: int, channels: int, steps: int = 20) -> Tensor:
    """Codes or normalised values drawn from the prior."""
    parts = []
    for count in [min(64, n - i) for i in range(0, n, 64)]:
        if kind == "vq":
            begin = torch.full((count, 1), BEGIN)
            drawn = model.generate(begin, do_sample=True, top_k=0, max_new_tokens=64, suppress_tokens=[BEGIN])
            parts.append(drawn[:, 1:])
            continue
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(steps)
        x, classes = torch.randn(count, channels, 8, 8), torch.zeros(count, dtype=torch.long)
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, timestep=t.expand(count), class_labels=classes).sample, t, x).prev_sample
        parts.append(x)
    return torch.cat(parts)


class Images(Dataset):
    """What torch-fidelity reads: bytes."""

    def __init__(self, images: Tensor) -> None:
        self.images = ((images + 1) * 127.5).round().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def register_net(path: str) -> None:
    """Have torch-fidelity know the module in that file, images in [-1, 1] to features, as "net"."""
    from torch_fidelity import register_feature_extractor
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Net(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)
            self.net = torch.load(path, weights_only=False)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (self.net(images.float() / 127.5 - 1),)

    register_feature_extractor("net", Net)


def frechet(images: Tensor, truth: Tensor) -> float:
    """torch-fidelity's Fréchet distance between two sets of images."""
    from torch_fidelity import calculate_metrics

    options: dict[str, Any] = {"feature_extractor": "net", "fid": True, "cuda": False, "cache": False, "verbose": False}
    return float(
        calculate_metrics(input1=Images(images), input2=Images(truth), **options)["frechet_inception_distance"]
    )


def pairs(images: Tensor, truth: Tensor) -> dict[str, float]:
    """PSNR and SSIM by torchmetrics, the mean over images."""
    from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    a, b = (images + 1) / 2, (truth + 1) / 2
    psnr = PeakSignalNoiseRatio(data_range=1.0, reduction="elementwise_mean", dim=(1, 2, 3))(a, b)
    ssim = StructuralSimilarityIndexMeasure(data_range=1.0)(a, b)
    return {"psnr": float(psnr), "ssim": float(ssim)}


def main() -> None:
    begun = time.process_time()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", choices=("kl", "ae", "vq"), required=True)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--images", required=True, help="an .npz of `train` and `val`: bytes [N, 3, 32, 32]")
    parser.add_argument("--net", required=True, help="a module that torch.save has written")
    parser.add_argument("--size", choices=tuple(WIDTHS), default="flops", help="what the tokenizer has in common")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--samples", type=int, default=128)
    options = parser.parse_args()
    kind, channels = options.tokenizer, options.channels
    torch.manual_seed(options.seed)
    with np.load(options.images) as file:
        train_images, val = (torch.from_numpy(file[split]).float() / 127.5 - 1 for split in ("train", "val"))
    marks = {"imports": begun}

    def mark(name: str, since: float) -> float:
        marks[name] = time.process_time() - since
        return time.process_time()

    now = mark("data", begun)
    model = tokenizer_model(kind, channels, options.size)
    train(model, tokenizer_loss(kind, model), train_images, options.steps, lr=2e-3)
    now = mark("tokenizer", now)
    register_net(options.net)
    decoded = decode(kind, model, encode(kind, model, val))
    row = pairs(decoded, val) | {"rfid": frechet(decoded, val)}
    now = mark("reconstruction", now)
    latents = encode(kind, model, train_images)
    mean, std = torch.zeros(1), torch.ones(1)
    if kind != "vq":
        mean, std = latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True)
        latents = (latents - mean) / std
    prior = prior_model(kind, channels)
    train(prior, prior_loss(kind, prior), latents, options.steps, lr=2e-3 if kind == "vq" else 1e-3)
    now = mark("prior", now)
    drawn = sample(kind, prior, options.samples, channels)
    images = decode(kind, model, drawn if kind == "vq" else drawn * std + mean)
    row |= {"gfid": frechet(images, val)}
    mark("generation", now)
    print(json.dumps(row | {"cpu_seconds": marks}))


if __name__ == "__main__":
    main()
