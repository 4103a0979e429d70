"""The task "micro_prior": what the cell's prior reaches at a small share of its compute, as proxies of what it will.

Three kinds of number, for each share: the distance of samples; scores of one step, for priors that denoise, with no
sampling (held-out latents are noised at fixed levels, denoised by one evaluation, decoded, and compared with the same
latents decoded as they are); the held-out objective. And of the largest share, what its loss curve promises at the full
compute.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ..results.metric import Metric
from ..results.record import JobResult
from ..tokenizers.interface import Latents, Tokenizer
from .compute_law import fit_law
from .config import MicroPriorTaskConfig
from .distances import Reference
from .generation import held_out, proxy_distances
from .interface import Context, FitReport, batches
from .latents import LatentBatch, LatentStore
from .metrics.frechet import FrechetReference, frechet_metric
from .metrics.psnr import psnr
from .priors.heldout import indices_of
from .priors.interface import Prior
from .priors.noise import normal
from .reconstruction import net_features

_SEED = 0x315C0


@dataclass(frozen=True, kw_only=True)
class MicroPrior:
    """A prior trained at a share of the full one's compute, and how that training went."""

    share: float
    prior: Prior
    report: FitReport


def thousandths(share: float) -> str:
    """A share as names have it: 0.005 is "5"."""
    return f"{1000 * share:.0f}"


def measure(
    micro: MicroPrior,
    tokenizer: Tokenizer,
    latents: LatentStore,
    config: MicroPriorTaskConfig,
    context: Context,
    *,
    references: dict[str, Reference],
    clean: Mapping[str, FrechetReference],
) -> JobResult:
    """`micro_gfd_<s>_<net>`, `micro_psnr_<s>_<l>`, `micro_fd_<s>_<l>_<net>` and `micro_loss_<s>` (or `micro_nll_<s>`)
    of one share s with noise levels l, both in thousandths, against `clean` of `clean_features`. `run` has the seconds
    by metric, training included."""
    tag, prior = thousandths(micro.share), micro.prior
    metrics: list[Metric] = []
    spent: dict[str, float] = {}

    def add(measured: Sequence[Metric], started: float) -> None:
        metrics.extend(measured)
        spent.update({metric.name: micro.report.seconds + time.monotonic() - started for metric in measured})

    started = time.monotonic()
    named = f"micro_gfd_{tag}_{{}}".format
    add(proxy_distances(prior, tokenizer, latents, config, context, references=references, named=named), started)
    started = time.monotonic()
    add(_held_out(tag, prior, latents, context), started)
    for level in config.levels:
        started = time.monotonic()
        add(one_step(tag, level, prior, tokenizer, latents, config, context, clean), started)
    return JobResult(metrics=tuple(metrics), run={"proxy_seconds": spent})


@torch.inference_mode()
def clean_features(
    tokenizer: Tokenizer, latents: LatentStore, config: MicroPriorTaskConfig, context: Context
) -> dict[str, FrechetReference]:
    """By net, the features of held-out latents decoded as they are: what `one_step` compares with; empty for codes."""
    features: dict[str, list[Tensor]] = {}
    for batch in _val(latents, config, context):
        if batch.latents.values is None:
            return {}
        signal = _decoded(tokenizer, latents, batch.latents.values)
        for name, values in _features(signal, tokenizer, config, context).items():
            features.setdefault(name, []).append(values)
    return {name: FrechetReference.of(torch.cat(parts), keep_features=False) for name, parts in features.items()}


@torch.inference_mode()
def one_step(
    tag: str,
    level: float,
    prior: Prior,
    tokenizer: Tokenizer,
    latents: LatentStore,
    config: MicroPriorTaskConfig,
    context: Context,
    clean: Mapping[str, FrechetReference],
) -> list[Metric]:
    """PSNR (dB, mean over samples) and Fréchet distance, by net, of held-out latents that were noised at `level`,
    denoised in one step and decoded, against the same latents decoded as they are; none of a prior that does not
    denoise."""
    values: list[Tensor] = []
    features: dict[str, list[Tensor]] = {}
    for batch in _val(latents, config, context):
        z = batch.latents.values
        if z is None:
            return []
        noise = normal(_SEED, indices_of(z, batch.indices), tuple(z.shape[1:])).to(z)
        guess = prior.denoise(batch, noise, level)
        if guess is None:
            return []
        signal = _decoded(tokenizer, latents, guess)
        values.append(psnr(signal, _decoded(tokenizer, latents, z)).cpu())
        for name, of_net in _features(signal, tokenizer, config, context).items():
            features.setdefault(name, []).append(of_net)
    where = f"{tag}_{thousandths(level)}"
    line = f"one step from noise at {level:g} of the scale, decoded, against the decoded clean latents"
    result = [
        Metric.from_samples(
            f"micro_psnr_{where}",
            torch.cat(values).tolist(),
            direction="higher",
            unit="dB",
            protocol=line,
            role="modelability",
        )
    ]
    for name, net in context.nets.items():
        distance = frechet_metric(f"micro_fd_{where}_{net.name}", torch.cat(features[name]), clean[name], protocol=line)
        result.append(replace(distance, role="modelability", shown="asked"))
    return [replace(metric, compared="table", shown="asked") for metric in result]


def law_metrics(micro: MicroPrior, full_flops: float) -> tuple[Metric, ...]:
    """`micro_law_loss`, the training loss that the micro-prior's curve promises at `full_flops`, and
    `micro_law_exponent`; None where the curve is too short, or does not tell."""
    rows = [row for row in micro.report.curve if "loss" in row]
    per_step = micro.report.flops / max(micro.report.steps, 1)
    steps = [0.0, *(float(row["step"]) for row in rows)]
    # a row is the mean loss since the last one
    middles = [per_step * (a + b) / 2 for a, b in pairwise(steps)]
    law = fit_law(middles, [float(row["loss"]) for row in rows])
    line = f"L = a + b C^-c, fitted to the training curve at {micro.share:.1%} of the compute"
    loss = None if law is None else law.at(full_flops)
    exponent = law.exponent if law is not None and law.is_certain else None
    return (
        _metric("micro_law_loss", loss, len(rows), line + ", at all of it"),
        _metric("micro_law_exponent", exponent, len(rows), f"c of {line}", direction="none"),
    )


def _held_out(tag: str, prior: Prior, latents: LatentStore, context: Context) -> list[Metric]:
    """An exact score in bits per element of the signal is `micro_nll_<s>`, a prior's own objective `micro_loss_<s>`."""
    with torch.inference_mode():
        scores = held_out(prior, latents.val, prior.spec, context.device)
    exact = [metric for metric in scores if metric.name.endswith("_per_element")]
    name = f"micro_nll_{tag}" if exact else f"micro_loss_{tag}"
    return [
        replace(metric, name=name, role="modelability", compared="table", shown="asked")
        for metric in (exact or list(scores))[:1]
    ]


def _val(latents: LatentStore, config: MicroPriorTaskConfig, context: Context) -> list[LatentBatch]:
    limit = min(config.held_out or len(latents.val), len(latents.val))
    return list(batches(latents.val, config.batch_size, context.device, limit=limit))


def _decoded(tokenizer: Tokenizer, latents: LatentStore, values: Tensor) -> Tensor:
    """The signals of normalised latents, in [-1, 1]."""
    return tokenizer.decode(latents.denormalise(Latents(values=values))).float().clamp(-1, 1)


def _features(
    signal: Tensor, tokenizer: Tokenizer, config: MicroPriorTaskConfig, context: Context
) -> dict[str, Tensor]:
    vocoder = context.vocoder_of(tokenizer.spec.signal, config.vocoder_iterations)
    rendered = signal if vocoder is None else vocoder.render(signal)
    return {name: net_features(net, signal, rendered).cpu() for name, net in context.nets.items()}


def _metric(name: str, value: float | None, n: int, protocol: str, **rest: str) -> Metric:
    options: Mapping[str, str] = {"direction": "lower"} | rest
    return Metric(
        name=name,
        value=value,
        n=n if value is not None else 0,
        missing=0 if value is not None else 1,
        protocol=protocol,
        role="modelability",
        shown="asked",
        compared="table",
        **options,  # type: ignore[arg-type]
    )
