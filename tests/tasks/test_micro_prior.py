"""Micro-priors: what a prior that denoises perfectly, or not at all, is measured to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from latentbench.results.record import JobResult
from latentbench.tasks.config import MicroPriorTaskConfig
from latentbench.tasks.distances import Reference
from latentbench.tasks.encoding import write_latents, write_statistics
from latentbench.tasks.interface import FitReport
from latentbench.tasks.latents import LatentBatch, LatentStore
from latentbench.tasks.micro_prior import MicroPrior, clean_features, law_metrics, measure
from latentbench.tasks.priors.config import PriorConfig
from latentbench.tasks.priors.flow import FlowPrior
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tasks.priors.interface import Prior
from latentbench.tasks.priors.unet_config import UNetConfig
from latentbench.tokenizers.interface import Latents

CPU = torch.device("cpu")


def report(**options: Any) -> FitReport:
    return FitReport(**{"steps": 10, "samples": 10, "flops": 1e6, "losses": {}, "curve": (), "seconds": 2.0} | options)


class Oracle(Prior):
    """Knows the latents, but for an error of the noise times `error`."""

    error: ClassVar[float] = 0.0

    def __init__(self, spec: Any) -> None:
        super().__init__(PriorConfig(), spec)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def losses(self, batch: LatentBatch, **_: object) -> dict[str, Tensor]:
        raise NotImplementedError

    def held_out(self, batch: LatentBatch) -> dict[str, Tensor]:
        return {"flow_loss": torch.full((len(batch),), 0.25)}

    def denoise(self, batch: LatentBatch, noise: Tensor, share: float) -> Tensor:
        assert batch.latents.values is not None
        return batch.latents.values + self.error * share * noise

    def sample_at(self, indices: range, *, seed: int) -> Latents:
        grid = self.spec.grid
        return Latents(values=torch.zeros(len(indices), grid.channels, *grid.shape))


class Blurred(Oracle):
    error = 0.5


def measured(toys: SimpleNamespace, folder: Path, kind: type[Oracle]) -> JobResult:
    tokenizer, data, net = toys.Identity(), toys.Data(train=40, val=40), toys.Pixels()
    for name in ("train", "val"):
        write_latents(tokenizer, getattr(data, name), folder, name, device=CPU, batch_size=64)
    write_statistics(folder)
    latents, context = LatentStore.open(folder, tokenizer.spec), toys.context(folder, net)
    config = MicroPriorTaskConfig(samples=20, batch_size=16, levels=(0.25, 0.5))
    return measure(
        MicroPrior(share=0.02, prior=kind(tokenizer.spec), report=report()),
        tokenizer,
        latents,
        config,
        context,
        references={"pixels": Reference.of(net(data.val.data), "val")},
        clean=clean_features(tokenizer, latents, config, context),
    )


def test_a_perfect_denoiser_and_a_blurred_one(toys: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    perfect, blurred = (
        {metric.name: metric for metric in measured(toys, tmp_path / name, kind).metrics}
        for name, kind in (("a", Oracle), ("b", Blurred))
    )
    assert set(perfect) == {
        "micro_gfd_20_pixels",
        "micro_loss_20",
        *(f"micro_{name}" for level in (250, 500) for name in (f"psnr_20_{level}", f"fd_20_{level}_pixels")),
    }
    assert all(metric.role == "modelability" for metric in perfect.values())
    assert perfect["micro_psnr_20_250"].value == 100
    assert perfect["micro_fd_20_500_pixels"].value == pytest.approx(0, abs=1e-6)
    assert perfect["micro_loss_20"].value == 0.25
    # an error of half the noise at .25 has half the size of that at .5: 6 dB
    gap = blurred["micro_psnr_20_250"].value - blurred["micro_psnr_20_500"].value
    assert gap == pytest.approx(6.02, abs=0.2)
    assert blurred["micro_fd_20_500_pixels"].value > blurred["micro_fd_20_250_pixels"].value > 0


def test_seconds_hold_the_training(toys: SimpleNamespace, tmp_path: Path) -> None:
    result = measured(toys, tmp_path, Oracle)
    assert set(result.run["proxy_seconds"]) == {metric.name for metric in result.metrics}
    assert min(result.run["proxy_seconds"].values()) >= 2


def test_the_law_reads_the_curve_at_the_middle_of_its_rows() -> None:
    curve = tuple({"step": float(step), "loss": 1 + (1e5 * (step - 0.5)) ** -0.5} for step in range(1, 11))
    micro = MicroPrior(share=0.02, prior=None, report=report(curve=curve))  # type: ignore[arg-type]
    loss, exponent = law_metrics(micro, 5e7)
    assert loss.value == pytest.approx(1 + 5e7**-0.5, abs=1e-5)
    assert exponent.value == pytest.approx(0.5, rel=0.02)
    short = law_metrics(MicroPrior(share=0.02, prior=None, report=report()), 5e7)  # type: ignore[arg-type]
    assert [metric.value for metric in short] == [None, None]
    rises = tuple({"step": float(step), "loss": float(step)} for step in range(1, 11))
    loss, exponent = law_metrics(replace(micro, report=report(curve=rises)), 5e7)
    assert loss.value == pytest.approx(5.5)
    assert (exponent.value, exponent.n, exponent.missing) == (None, 0, 1)  # any would fit


@pytest.mark.parametrize("prior", ["flow", "unet"])
def test_priors_denoise_at_the_same_level(prior: str, toys: SimpleNamespace) -> None:
    """An untrained flow predicts no velocity: it returns what it sees, whose error has the deviation `share` √2 (of
    noise less latents); a diffusion that predicts x_0 = 0 is off by the latents alone."""
    spec = toys.Identity().spec
    torch.manual_seed(0)
    clean = torch.randn(200, spec.grid.channels, *spec.grid.shape)
    batch = LatentBatch(latents=Latents(values=clean))
    noise = torch.randn_like(clean)
    if prior == "flow":
        error = FlowPrior(FlowConfig(width=32, layers=1), spec).denoise(batch, noise, 0.3) - clean
        assert float(error.std()) == pytest.approx(0.3 * 2**0.5, rel=0.02)
    else:
        model = UNetConfig(prediction="x").build(spec)
        for parameter in model.net.parameters():
            torch.nn.init.zeros_(parameter)
        assert float((model.denoise(batch, noise, 0.3) - clean).std()) == pytest.approx(1, rel=0.02)
