"""The generation task: sample a trained prior, decode, and score the samples against the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..results.gallery import SAMPLES
from ..results.metric import Metric
from ..results.record import JobResult
from ..tokenizers.interface import Latents, Tokenizer
from ..tokenizers.spec import LatentSpec
from .chunks import Chunks
from .config import ClosedFormTaskConfig, GenerationConfig, MicroPriorTaskConfig
from .distances import Reference, distances, floor
from .given_frames import GivenFrames
from .interface import Context
from .latents import LatentSplit, LatentStore
from .metrics.interface import SampleSet
from .priors.heldout import HeldOutScore
from .priors.interface import Prior
from .reconstruction import net_features
from .scores import check_nets, sample_scores
from .statistics_file import EXTERNAL
from .stopwatch import Stopwatch, rate
from .tensors import save_tensors

_HELD_OUT_BATCH = 64


class Sampler(Protocol):
    """All that is asked of a prior here: a stream of samples."""

    def sample(self, n: int, *, seed: int, batch_size: int, start: int = 0) -> Latents:
        """Samples `start` to `start + n` of the stream, normalised per channel."""
        ...


@torch.inference_mode()
def generate(
    prior: Sampler,
    tokenizer: Tokenizer,
    latents: LatentStore,
    config: GenerationConfig,
    context: Context,
    *,
    references: dict[str, Reference],
    stream: str = "",
) -> JobResult:
    """Draw `config.samples`, decode them, and measure Fréchet and kernel distances to `references` (by net), then
    `config.scores`. `context.references` holds both splits' by (net, split): for the floor of the Fréchet distance,
    that of as many of the other split's signals, and for "memorisation"; and that of a file, which then is what samples
    are compared with.

    A call that was ended goes on from the samples that it had, in `context.folder`: sample i depends on the seed and i
    alone, and `stream` tells what is drawn apart from what else was in that folder. Keeps the first `config.keep`
    decoded samples in `samples.safetensors`. `run` of the result has the seconds of sampling and of decoding, and the
    samples drawn a second (before decoding).
    Raises RuntimeError when samples are not finite: a diverged prior has no score; UserError as `sample_scores` does.
    """
    check_nets(config.scores, context.nets)  # before hours of sampling
    signal = tokenizer.spec.signal
    vocoder = context.vocoder_of(signal, config.vocoder_iterations)
    identity = {"pass": "generation", "of": stream, "nets": sorted(context.nets), "version": 2}
    chunks = Chunks(context.folder, identity)
    sampling, decoding = (_watch(context.device, chunks, name) for name in ("sampling", "decoding"))
    undecodable = int(chunks.state.get("undecodable", 0)) - tokenizer.undecodable

    def state() -> dict[str, Tensor]:
        """What is no row: read when a chunk is due, for it waits for the device."""
        seconds = {"sampling": sampling.seconds, "decoding": decoding.seconds}
        tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in seconds.items()}
        return tensors | {"undecodable": torch.tensor(tokenizer.undecodable + undecodable)}

    for start in range(chunks.done, config.samples, config.batch_size):
        size = min(config.batch_size, config.samples - start)
        with sampling:
            drawn = prior.sample(size, seed=context.seed, batch_size=size, start=start)
        with decoding:
            decoded = tokenizer.decode(latents.denormalise(drawn)).float()
        unusable = (~torch.isfinite(decoded)).flatten(1).any(1)
        decoded = decoded.clamp(-1, 1)
        rendered = decoded if vocoder is None else vocoder.render(decoded)
        rows = {f"features.{name}": net_features(net, decoded, rendered) for name, net in context.nets.items()}
        if start < config.keep:
            rows["samples"] = decoded[: config.keep - start]
        chunks.add(size, rows | {"unusable": unusable}, {}, state)
        context.progress(start + size, config.samples, "sampling")
    collected = chunks.rows()
    if diverged := int(collected["unusable"].sum()):
        raise RuntimeError(f"{diverged} of {config.samples} samples are not finite: the prior or the decoder diverged")
    if "samples" in collected:
        save_tensors(context.folder / SAMPLES, {"samples": collected["samples"]})
    note = "" if vocoder is None else f"audio through {vocoder.protocol}"
    metrics: list[Metric] = []
    if tokenizer.spec.grid.variable:
        metrics.append(_undecodable(tokenizer.undecodable + undecodable, config.samples))
    scores, extra = _scores(
        {name: collected[f"features.{name}"] for name in context.nets}, config, context, references, note
    )
    metrics += scores
    run = {
        "sample_seconds": round(sampling.seconds, 3),
        "decode_seconds": round(decoding.seconds, 3),
        "samples_per_second": rate(config.samples, sampling.seconds),
    }
    artifacts = (SAMPLES,) if "samples" in collected else ()
    return JobResult(metrics=tuple(metrics), extra=extra, artifacts=artifacts, run=run)


def proxy_distances(
    prior: Sampler,
    tokenizer: Tokenizer,
    latents: LatentStore,
    config: ClosedFormTaskConfig | MicroPriorTaskConfig,
    context: Context,
    *,
    references: dict[str, Reference],
    named: Callable[[str], str],
    stream: str = "",
) -> list[Metric]:
    """The Fréchet distances of a prior that stands in for the trained one, called `named(net)`; else as `generate`."""
    options = GenerationConfig(
        samples=config.samples,
        batch_size=config.batch_size,
        reference=config.reference,
        vocoder_iterations=config.vocoder_iterations,
        keep=0,
    )
    drawn = generate(prior, tokenizer, latents, options, context, references=references, stream=stream)
    nets = {metric.name: metric.name.removeprefix("gfd_") for metric in drawn.metrics if metric.name.startswith("gfd_")}
    nets["gfid"] = "inception"
    return [
        replace(metric, name=named(nets[metric.name]), role="modelability", compared="table", shown="asked")
        for metric in drawn.metrics
        if metric.name in nets
    ]


def _watch(device: torch.device, chunks: Chunks, name: str) -> Stopwatch:
    """A stopwatch that goes on from what `chunks` have of it."""
    return Stopwatch(device, float(chunks.state.get(name, 0.0)))


def _undecodable(count: int, samples: int) -> Metric:
    line = "share of samples whose codes described no signal and were decoded to the tokenizer's fallback"
    shares = [1.0] * count + [0.0] * (samples - count)
    return Metric.from_samples("undecodable", shares, direction="lower", protocol=line, role="generation")


def _scores(
    features: dict[str, Tensor],
    config: GenerationConfig,
    context: Context,
    references: dict[str, Reference],
    note: str,
) -> tuple[list[Metric], dict[str, Any]]:
    """Distances and further scores of the samples' `features` by net, and the facts that a record keeps of them."""
    metrics: list[Metric] = []
    extra: dict[str, Any] = {}
    for name, net in context.nets.items():
        external = context.references.get((net.name, EXTERNAL))
        reference = references[name] if external is None else external
        metrics += distances("g", net, features[name], reference, note=note, seed=context.seed)
        for (of, split), data in context.references.items():
            other = split != reference.split if external is None else split == "val"
            if of == net.name and other:
                metrics.append(floor(net, data, reference, samples=config.samples))
        samples = SampleSet(
            net=net,
            features=features[name],
            reference=reference,
            splits=context.references,
            note=note,
            seed=context.seed,
        )
        scores, facts = sample_scores(config.scores, samples)
        metrics += scores
        extra |= {f"{fact}_{net.name}": value for fact, value in facts.items()}
    return metrics, extra


@torch.inference_mode()
def held_out(
    prior: Prior, split: LatentSplit, spec: LatentSpec, device: torch.device, *, given: GivenFrames | None = None
) -> tuple[Metric, ...]:
    """The prior's held-out scores on the validation latents: `nll_bits` (exact), or the prior's own loss.

    A likelihood is also given per element of the source signal. Neither compares tokenizers by itself (a tokenizer
    that keeps less is easier to predict); a loss compares nothing but training runs on the same latents. What is
    `given` is part of the scores' names and protocols: they are of the rest.
    """
    scores: dict[str, list[Tensor]] = {}
    for start in range(0, len(split), _HELD_OUT_BATCH):
        batch = split.batch(np.arange(start, min(start + _HELD_OUT_BATCH, len(split))), device)
        for name, values in prior.held_out(batch).items():
            scores.setdefault(name, []).append(values.double())
    known = {score.name: score for score in prior.held_out_scores}
    metrics: list[Metric] = []
    for name, parts in scores.items():
        values = torch.cat(parts).cpu()
        score = known.get(name, HeldOutScore(name=name))
        metric = Metric.from_samples(
            name, values.tolist(), direction="lower", unit=score.unit, protocol=score.protocol, role="prior"
        )
        metrics.append(metric)
        if score.exact and given is None:
            per_element = Metric.from_samples(
                f"{name}_per_element",
                (values / spec.signal.source_elements).tolist(),
                direction="lower",
                unit="bit",
                protocol="exact, of the latents alone, per element of the source signal",
                role="prior",
                shown="asked",
            )
            metrics.append(per_element)
    if given is not None:
        return tuple(map(given.marked, metrics))
    return tuple(replace(metric, protocol=f"{metric.protocol}; validation split") for metric in metrics)
